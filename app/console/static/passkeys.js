// Passkeys: forms with `data-passkey` ask the browser for one (`get`) or let it make one (`create`), and send what it
// answers. Their options are in the page (`data-options`) or come from an address (`data-options-url`).
"use strict";
(() => {
  const root = document.body.dataset.root || "";
  const able = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON;
  for (const each of document.querySelectorAll("[data-without-passkeys]")) each.hidden = Boolean(able);
  for (const each of document.querySelectorAll("[data-print]")) each.addEventListener("click", () => print());
  if (!able) return;
  const readOptions = async (form) => {
    const { options, optionsUrl } = form.dataset;
    if (options) return JSON.parse(document.getElementById(options).textContent);
    const answer = await fetch(root + optionsUrl, { method: "POST", cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const begun = await answer.json();
    form.elements.challenge.value = begun.challenge;
    return begun.options;
  };
  const show = (form, text) => {
    const place = form.querySelector("[data-passkey-problem]");
    place.textContent = text;
    place.hidden = !text;
  };
  const run = async (form, button) => {
    if (!form.reportValidity()) return;
    show(form, "");
    button.disabled = true;
    try {
      const options = await readOptions(form);
      const credential = form.dataset.passkey === "create"
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
      form.elements.passkey.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch (error) {
      button.disabled = false;
      show(form, { NotAllowedError: form.dataset.cancelled, AbortError: form.dataset.cancelled, InvalidStateError: form.dataset.known }[error.name] || form.dataset.failed);
    }
  };
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    const button = form.querySelector("[data-passkey-start]");
    button.addEventListener("click", () => run(form, button));
    // The Enter key in a field of the form.
    form.addEventListener("submit", (event) => { event.preventDefault(); event.stopPropagation(); run(form, button); });
  }
})();
