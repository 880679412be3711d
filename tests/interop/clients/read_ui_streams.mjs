// Usage: read_ui_streams.mjs PACKAGE URL PROMPT...
// Prints, for each prompt, the last message that the package has read, and its errors.
const [name, url, ...prompts] = process.argv.slice(2);
const {DefaultChatTransport, readUIMessageStream} = await import(name);
const results = {};
for (const prompt of prompts) {
  const transport = new DefaultChatTransport({api: url});
  const parts = [{type: "text", text: prompt}];
  const errors = [];
  let message = null;
  try {
    const stream = await transport.sendMessages({
      chatId: "chat",
      trigger: "submit-message",
      messages: [{id: "1", role: "user", parts}],
    });
    const onError = (error) => errors.push(error.message);
    for await (const each of readUIMessageStream({stream, onError})) message = each;
  } catch (error) {
    errors.push(error.message);
  }
  results[prompt] = {message, errors};
}
console.log(JSON.stringify(results));
