// Posts the token in the fragment (`#…`) of a portal link, which browsers do not send.
"use strict";
(() => {
  const form = document.getElementById("portal-entry");
  if (!form || location.hash.length < 2) return;
  form.elements.token.value = location.hash.slice(1);
  // The address in the history is without the token.
  history.replaceState(history.state, "", location.pathname + location.search);
  form.submit();
})();
