"use strict";
// Sends what stands behind the `#` of a link, which the browser itself sends to nobody; follows the way to a provider.
{
const form = document.querySelector("#enter");
if (form && location.hash.length > 1) {
  form.elements.token.value = location.hash.slice(1);
  form.submit();
}
const provider = document.querySelector("#provider");
if (provider) location.assign(provider.href);
}
