// The bearer token: asked for when the server first refuses, and kept in this browser.

import { $ } from "./dom.js";
import { forget, keep, kept } from "./store.js";

let asking = null;

/** The key that requests carry; "" for none. */
export const storedKey = () => kept("key", "");

/** Ask the person; true once there is a key to try. Several askers share one dialog. */
export function askForKey(wasWrong) {
  asking ??= ask(wasWrong).finally(() => {
    asking = null;
  });
  return asking;
}

/** Show the button that forgets the key, where there is a key. */
export function showForgetButton() {
  const button = $("forget-key");
  button.hidden = !storedKey();
  button.onclick = () => {
    forget("key");
    button.hidden = true;
  };
}

function ask(wasWrong) {
  const dialog = $("key-dialog");
  $("key-title").textContent = wasWrong ? "The server does not accept this key" : "This server asks for a key";
  $("key").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(false);
    $("key-cancel").onclick = () => dialog.close();
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      keep("key", $("key").value.trim());
      showForgetButton();
      resolve(true);
      dialog.close();
    };
  });
}
