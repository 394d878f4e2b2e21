// One answer from the server, as it comes.

import { stream, wasStopped } from "./api.js";
import { Meter } from "./meter.js";
import { sampling } from "./sampling.js";

/**
 * Ask, and let `answer` grow: { content, tools?, story?, facts, note?, problem? }. `onGrow` is called for every piece.
 * Never throws: what went wrong is said in `answer.problem`.
 */
export async function answerInto(answer, path, body, signal, onGrow) {
  const drawn = sampling();
  const meter = new Meter();
  let tokens;
  let finish;
  try {
    const request = { ...drawn, ...body, stream_options: { include_usage: true } };
    for await (const event of stream(path, request, signal)) {
      tokens = event.usage?.completion_tokens ?? tokens;
      const choice = event.choices?.[0];
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      take(answer, choice.inkling ?? {});
      const text = choice.delta?.content ?? choice.text ?? "";
      if (!text) continue;
      meter.count();
      answer.content += text;
      answer.facts = meter.facts();
      onGrow();
    }
    if (finish === "length") {
      answer.note = "The answer was cut: it reached the most tokens, or the end of what the model can hold in view.";
    }
  } catch (error) {
    if (wasStopped(error)) answer.note = "Stopped.";
    else answer.problem = error.message;
  }
  answer.facts = { ...meter.facts(tokens), seed: drawn.seed };
}

function take(answer, { tools, messages, forgotten }) {
  if (tools) answer.tools = [...(answer.tools ?? []), ...tools];
  if (messages?.length) answer.story = messages;
  if (forgotten) {
    answer.forgotten = `The model no longer sees the oldest ${forgotten === 1 ? "turn" : `${forgotten} turns`}: it holds no more in view.`;
  }
}
