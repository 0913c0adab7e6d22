"use strict";
(() => {
  const view = document.querySelector(".tokenview");
  if (!view) return;
  const form = view.querySelector(".filters");
  const cards = [...view.querySelectorAll(".card")];
  const tip = document.getElementById("tip");

  function applyFilters() {
    const chosen = new FormData(form);
    const label = chosen.get("label");
    const arm = chosen.get("arm") || "";
    view.dataset.shade = chosen.get("shade");
    let shown = 0;
    for (const card of cards) {
      const fits = (label === "all" || card.dataset.label === label) && (!arm || card.dataset.arm === arm);
      card.hidden = !fits;
      shown += fits;
    }
    form.querySelector(".shown").textContent = `${shown} of ${cards.length} completions`;
    view.querySelector(".nothing").hidden = shown > 0;
    hideTip();
  }

  function line(name, value) {
    const row = document.createElement("div");
    const label = document.createElement("span");
    const number = document.createElement("b");
    label.textContent = name;
    number.textContent = value;
    row.append(label, number);
    return row;
  }

  let told = null; // the token that the tip tells of

  function showTip(token) {
    told = token;
    const text = token.cloneNode(true);
    text.querySelectorAll("i").forEach((mark) => mark.remove());
    const name = document.createElement("code");
    name.textContent = text.textContent.replace(/\n/g, "\\n").replace(/^ +| +$/g, (gap) => "\u2423".repeat(gap.length));
    tip.replaceChildren(name, line("weight", token.dataset.weight));
    if (token.dataset.td) tip.append(line("TD error", token.dataset.td));
    if (token.dataset.value) tip.append(line("value", token.dataset.value));
    if (token.classList.contains("x")) {
      const wrong = document.createElement("em");
      wrong.textContent = "truly wrong token";
      tip.append(wrong);
    }
    tip.hidden = false;
    placeTip();
  }

  function placeTip() {
    if (!told) return;
    const box = told.getClientRects()[0] || told.getBoundingClientRect();
    const above = box.top - tip.offsetHeight - 8;
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    tip.style.top = `${above < 4 ? box.bottom + 8 : above}px`;
    tip.style.left = `${Math.max(6, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 6))}px`;
  }

  function hideTip() {
    told = null;
    tip.hidden = true;
  }

  // One tab stop per completion; arrow keys walk through its tokens.
  function move(event) {
    const token = event.target.closest(".card .t");
    if (event.key === "Escape") hideTip();
    if (!token) return;
    const tokens = [...token.parentElement.children];
    const here = tokens.indexOf(token);
    const there = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (there === undefined) return;
    event.preventDefault();
    if (tokens[there]) tokens[there].focus();
  }

  view.addEventListener("focusin", (event) => {
    const token = event.target.closest(".card .t");
    if (!token) return;
    for (const other of token.parentElement.children) other.tabIndex = other === token ? 0 : -1;
    token.setAttribute("aria-selected", "true");
    showTip(token);
  });
  view.addEventListener("focusout", (event) => {
    const token = event.target.closest(".card .t");
    if (token) token.setAttribute("aria-selected", "false");
    hideTip();
  });
  view.addEventListener("mouseover", (event) => {
    const token = event.target.closest(".card .t");
    if (token) showTip(token);
    else hideTip();
  });
  view.addEventListener("mouseleave", hideTip);
  view.addEventListener("keydown", move);
  window.addEventListener("scroll", placeTip, { passive: true });
  form.addEventListener("change", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  applyFilters();
})();
