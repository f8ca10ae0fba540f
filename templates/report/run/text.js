// Hostile text: shown by text nodes only, with what would turn or hide it made visible, and searched by characters.
"use strict";
const texts = (() => {
  const NAMES = {
    0x200b: "ZWSP", 0x200e: "LRM", 0x200f: "RLM", 0x061c: "ALM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF",
    0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0x2028: "LS",
    0x2029: "PS", 0xfeff: "BOM", 0x7f: "␡",
  };
  const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]/u;
  const CONTROLS = new RegExp(`(${CONTROL.source})`, "gu");
  // A character with what combines with it: half-width voiced marks are letters to Unicode, and combine in NFKC.
  const CLUSTERS = /\P{M}[\p{M}\uff9e\uff9f]*|\p{M}+/gsu;

  // Full and half width, case, ligatures and final sigma alike; JavaScript has no case folding of its own.
  function fold(text) {
    return text.normalize("NFKC").toUpperCase().toLowerCase().replaceAll("ς", "σ");
  }
  function termsOf(query) {
    return fold(query).split(/\s+/u).filter(Boolean);
  }

  // Ranges [from, to) of `text`, in its own places, where any of the folded terms stands.
  function find(text, terms) {
    if (!terms.length) return [];
    let folded = "";
    const starts = [], ends = [];
    for (const match of text.matchAll(CLUSTERS)) {
      const part = fold(match[0]);
      for (let i = 0; i < part.length; i++) {
        starts.push(match.index);
        ends.push(match.index + match[0].length);
      }
      folded += part;
    }
    const ranges = [];
    for (const term of terms) {
      for (let at = folded.indexOf(term); at >= 0; at = folded.indexOf(term, at + term.length)) {
        ranges.push([starts[at], ends[at + term.length - 1]]);
      }
    }
    ranges.sort((a, b) => a[0] - b[0]);
    const joined = [];
    for (const range of ranges) {
      const last = joined.at(-1);
      if (last && range[0] <= last[1]) last[1] = Math.max(last[1], range[1]); else joined.push(range);
    }
    return joined;
  }

  function nameOf(character) {
    const code = character.codePointAt(0);
    if (NAMES[code]) return NAMES[code];
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  }
  function append(parent, text) {
    if (!CONTROL.test(text)) { parent.append(text); return; }
    for (const part of text.split(CONTROLS)) {
      if (!part) continue;
      if (!CONTROL.test(part)) { parent.append(part); continue; }
      const mark = document.createElement("span");
      mark.className = "control";
      mark.textContent = nameOf(part);
      mark.title = `the character U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
      parent.append(mark);
    }
  }

  // The text into an element, hits marked; the direction is the text's own and ends with it.
  function show(element, text, terms, language) {
    element.classList.add("text");
    element.dir = "auto";
    element.lang = languageOf(text, language);
    let at = 0;
    for (const [from, to] of find(text, terms)) {
      append(element, text.slice(at, from));
      const mark = document.createElement("mark");
      append(mark, text.slice(from, to));
      element.append(mark);
      at = to;
    }
    append(element, text.slice(at));
    return element;
  }

  // Han alone may be either language: then it is the run's, where that is one of the two.
  function languageOf(text, language) {
    if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return "ja";
    if (/\p{Script=Hangul}/u.test(text)) return "ko";
    if (/\p{Script=Han}/u.test(text)) return language === "ja" ? "ja" : "zh";
    return /\p{Script=Latin}/u.test(text) ? "en" : language;
  }

  // For Plotly, which reads a few tags in its texts: short, and without a character that could begin one.
  function plain(text) {
    const short = text.length > 60 ? `${text.slice(0, 59)}…` : text;
    return short.replaceAll(/[<>&]/g, (each) => ({ "<": "‹", ">": "›", "&": "+" })[each]).replaceAll(CONTROLS, "�");
  }
  return { fold, termsOf, find, show, plain };
})();
