// The keyboard reaches whatever scrolls to the side: the theme sees to code and tables, this to figures, and to folds that open.
const reach = () => document.querySelectorAll("article figure").forEach(figure =>
  figure.toggleAttribute("tabindex", figure.scrollWidth > figure.clientWidth) && figure.setAttribute("tabindex", 0));
["load", "resize"].forEach(change => addEventListener(change, reach));
addEventListener("toggle", () => dispatchEvent(new Event("resize")), true);
