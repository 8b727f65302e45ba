"use strict";
// Posts the token in the fragment (`#…`) of a link, which browsers do not send; follows the link to a provider.
{
const form = document.querySelector("#enter");
if (form && location.hash.length > 1) {
  form.elements.token.value = location.hash.slice(1);
  form.submit();
}
const provider = document.querySelector("#provider");
if (provider) location.assign(provider.href);
}
