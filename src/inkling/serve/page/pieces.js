// Tokens as people can read them.

const NAMES = { "\n": "⏎", "\t": "⇥", "\r": "␍", "": "∅" };

/** What a token stands for, with signs for what cannot be seen. */
export function shown(seen, token) {
  const text = seen.pieces[token] ?? `#${token}`;
  if (seen.special.includes(token)) return text;
  return text in NAMES ? NAMES[text] : text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·");
}
