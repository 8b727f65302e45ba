// "Near me": asks the browser for a position when the button is pressed, never before, and searches around it.
// What is sent is rounded to 0.01 degrees, about 1 km.
"use strict";
(() => {
  const button = document.getElementById("near");
  const said = document.getElementById("near-said");
  if (!button || !window.isSecureContext || !navigator.geolocation) return;
  button.hidden = said.hidden = false;
  button.addEventListener("click", () => {
    button.disabled = true;
    navigator.geolocation.getCurrentPosition(({ coords }) => {
      document.getElementById("q").value = `${coords.latitude.toFixed(2)}, ${coords.longitude.toFixed(2)}`;
      button.form.requestSubmit();
      button.disabled = false;
    }, () => {
      said.textContent = button.dataset.refused;
      button.disabled = false;
    }, { maximumAge: 600000, timeout: 15000 });
  });
})();
