() => {
  const problems = [];
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) problems.push(`id twice: ${id}`);
  if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
  if (!document.documentElement.lang || !document.title) problems.push("no language or title");
  const shown = (e) => e.getClientRects().length > 0;
  const named = (e) => (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || "").trim() ||
    document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim();
  for (const e of document.querySelectorAll("a, button, summary, input:not([type=hidden]), textarea, progress, [role=img], [role=region]"))
    if (shown(e) && !named(e)) problems.push(`no name: ${e.outerHTML.slice(0, 80)}`);
  for (const reference of ["aria-labelledby", "aria-describedby"])
    for (const e of document.querySelectorAll(`[${reference}]`))
      for (const id of e.getAttribute(reference).split(/\s+/))
        if (!document.getElementById(id)) problems.push(`${reference} leads nowhere: ${id}`);
  const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const mix = (front, back, alpha) => front.slice(0, 3).map((c, at) => c * alpha + back[at] * (1 - alpha));
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !shown(e) || e.closest(".visually-hidden, .skip-link, :disabled, svg")) continue;
    const style = getComputedStyle(e), back = behind(e);
    const front = mix(rgb(style.color), back, Number(style.opacity));
    const [high, low] = [light(front), light(back)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (large ? 3 : 4.5)) problems.push(`contrast ${ratio.toFixed(2)}: ${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 30)}`);
  }
  for (const e of document.querySelectorAll("a.button, button, summary, input")) {
    const box = e.getBoundingClientRect();
    if (shown(e) && (box.height < 24 || box.width < 24)) problems.push(`too small to hit: ${e.outerHTML.slice(0, 60)}`);
  }
  if (document.documentElement.scrollWidth > window.innerWidth + 1) problems.push(`wider than the screen: ${document.documentElement.scrollWidth}`);
  return problems;
}
