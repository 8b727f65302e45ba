// Verifies requests as a receiver in Node would. Reads a JSON list of {secret, headers, body (base64)} from
// standard input; writes a list of {type} or {error}, one for each.
import { Webhook } from "standardwebhooks";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);

const results = JSON.parse(Buffer.concat(chunks)).map(({ secret, headers, body }) => {
  try {
    const event = new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
    return { type: event.type ?? event.version };
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(results));
