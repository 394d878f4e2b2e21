// How fast an answer comes.

export class Meter {
  constructor() {
    this.begun = performance.now();
    this.first = 0;
    this.tokens = 0;
  }

  /** A piece of text has come. Most pieces are one token; at the end the server says how many there were. */
  count() {
    this.first ||= performance.now();
    this.tokens += 1;
  }

  /** { tokens, rate (a second), wait (seconds until the first) } */
  facts(tokens = this.tokens) {
    const seconds = (performance.now() - this.first) / 1000;
    const rate = this.first && tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : 0;
    const wait = ((this.first || performance.now()) - this.begun) / 1000;
    return { tokens, rate, wait };
  }
}

/** The same in words. */
export function inWords({ tokens, rate, wait, seed }) {
  const words = [`${tokens} token${tokens === 1 ? "" : "s"}`];
  if (rate) words.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`);
  if (tokens) words.push(`first after ${wait.toFixed(wait < 1 ? 2 : 1)} s`);
  if (seed !== undefined) words.push(`seed ${seed}`);
  return words.join(" · ");
}
