// A page with `useChat`; its state is in window.chat.
import React from "react";
import {createRoot} from "react-dom/client";
import {useChat} from "@ai-sdk/react";
import {DefaultChatTransport} from "ai";

function Chat() {
  const chat = useChat({transport: new DefaultChatTransport({api: "/ai-sdk"})});
  window.chat = chat;
  const last = chat.messages.at(-1);
  return <p id="state">{chat.status}: {JSON.stringify(last?.parts)}</p>;
}

createRoot(document.body.appendChild(document.createElement("div"))).render(<Chat />);
