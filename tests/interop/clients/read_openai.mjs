// Usage: read_openai.mjs URL PROMPT...
// Prints, for each prompt, the text and the error that openai has read, and the same of
// @ai-sdk/openai-compatible.
import OpenAI from "openai";
import {createOpenAICompatible} from "@ai-sdk/openai-compatible";

const [baseURL, ...prompts] = process.argv.slice(2);
const client = new OpenAI({baseURL, apiKey: "none", maxRetries: 0});
const model = createOpenAICompatible({name: "relay", baseURL}).chatModel("m");
const results = {};
for (const prompt of prompts) {
  const found = {text: "", error: null, finish: null};
  try {
    const messages = [{role: "user", content: prompt}];
    const stream = await client.chat.completions.create({
      model: "m", messages, stream: true,
    });
    for await (const chunk of stream) {
      found.text += chunk.choices[0]?.delta?.content ?? "";
      found.finish = chunk.choices[0]?.finish_reason ?? found.finish;
    }
  } catch (error) {
    found.error = error.message;
  }
  const other = {text: "", error: null};
  try {
    const content = [{type: "text", text: prompt}];
    const {stream} = await model.doStream({prompt: [{role: "user", content}]});
    for await (const part of stream) {
      if (part.type === "text-delta") other.text += part.delta;
      if (part.type === "error") other.error = part.error?.message ?? String(part.error);
    }
  } catch (error) {
    other.error = error.message;
  }
  results[prompt] = {openai: found, compatible: other};
}
console.log(JSON.stringify(results));
