// The menu of the administration scrolls sideways on a phone: bring its present entry into view.
"use strict";
document.querySelector(".parts [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
