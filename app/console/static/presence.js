// While a page waits for the first sample of a box (`data-waiting`), it looks every two seconds.
"use strict";
setInterval(() => {
  if (!document.hidden && document.querySelector("[data-live] [data-waiting]")) window.vigie.refresh();
}, 2000);
