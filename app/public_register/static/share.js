// "Copy the link": copies the address of the page as it is, with its language. Without scripts there is no button.
"use strict";
(() => {
  const button = document.getElementById("share"), said = document.getElementById("share-said");
  if (!button || !said) return;
  button.hidden = false;
  // Browsers have a clipboard only in secure contexts; elsewhere the selection is copied.
  const copySelected = (text) => {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };
  button.addEventListener("click", async () => {
    const address = `${location.origin}${location.pathname}?lang=${document.documentElement.lang}`;
    let done = false;
    try {
      await navigator.clipboard.writeText(address);
      done = true;
    } catch { done = copySelected(address); }
    said.textContent = done ? button.dataset.copied : address;
    button.focus();
  });
})();
