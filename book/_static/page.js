// The theme lets the keyboard reach what scrolls, and looks for it when the window changes: a fold that opens is a change too.
addEventListener("toggle", () => dispatchEvent(new Event("resize")), true);
