// Asks for each text named in the arguments, streamed and whole, and prints what was heard as JSON.

import OpenAI from 'openai';

const client = new OpenAI({
  baseURL: `${process.env.SERVICE_URL}/v1`, apiKey: 'any', maxRetries: 0,
});
const heard = {};
for (const name of process.argv.slice(2)) {
  const asked = {
    model: 'fanout', messages: [{ role: 'user', content: `Please recite ${name}.` }],
  };
  const whole = await client.chat.completions.create(asked);
  const chunks = await Array.fromAsync(
    await client.chat.completions.create({ ...asked, stream: true }),
  );
  const events = await Array.fromAsync(await client.responses.create({
    model: 'fanout', input: `Please recite ${name}.`, stream: true,
  }));
  heard[name] = {
    response: events.at(-1).response.output[0].content[0].text,
    whole: whole.choices[0].message.content,
    streamed: chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''),
  };
}
process.stdout.write(JSON.stringify(heard));
