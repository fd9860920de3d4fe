// What the eye would call broken: words that stick out of the window, are cut off, or lie on other words. Whatever may scroll
// or shorten its text by itself (a list, a field, the events) is left alone.
() => {
  const found = [];
  const words = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { currentNode: node } = walker;
    const parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest(".away, select, #event-lines, noscript")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      const text = node.data.trim();
      if (box.left < 0 || box.right > innerWidth) found.push(`outside: ${text}`);
      const button = parent.closest("button")?.getBoundingClientRect();
      if (button && (box.left < button.left || box.right > button.right)) found.push(`cut off: ${text}`);
      words.push({ node, text, box });
    }
  }
  for (const [index, one] of words.entries()) {
    for (const other of words.slice(index + 1)) {
      const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      // Lines may touch: a font's box is higher than its letters.
      if (one.node !== other.node && across > 1 && down > 4) found.push(`${one.text} lies on ${other.text}`);
    }
  }
  return found;
}
