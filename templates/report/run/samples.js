// The sample browser: search by characters, filters, and ten items at a time. Texts reach the page as text nodes.
"use strict";
(() => {
  const { number, element, pager } = tables;
  const SIZE = 10, TURNS_SHOWN = 4, WAIT_MS = 120;
  const ENDS = { stop: "ended by itself", length: "cut at max_tokens" };
  const ITEM_KEY = /^[^\p{C}\p{Zl}\p{Zp}]+#\d+\.\d+$/u; // one that is whole, and that can be copied
  const field = (name) => document.getElementById(`sample-${name}`);
  const items = JSON.parse(document.getElementById("data-samples").textContent);
  const tokens = items.map((item) => (item.samples ?? []).reduce((sum, sample) => sum + sample.tokens, 0));
  const scoreLabels = new Map((data.users?.scores ?? []).map((score) => [score.name, score]));
  const folded = new Map(); // place -> {prompt, samples, reference}, made when first searched

  for (const [name, score] of scoreLabels) {
    if (!items.some((item) => item.scores && name in item.scores)) continue;
    for (const [order, word] of [["low", "lowest"], ["high", "highest"]]) {
      const option = element("option", `${word} ${score.label}`);
      option.value = `${order} ${name}`;
      field("order").append(option);
    }
  }

  function foldedOf(place) {
    if (!folded.has(place)) {
      const item = items[place];
      const prompt = [item.key, item.name ?? "", item.asks ?? "", ...(item.turns ?? []).flat()];
      const samples = (item.samples ?? []).flatMap((sample) => [sample.text, sample.reasoning ?? ""]);
      folded.set(place, { prompt: texts.fold(prompt.join("\n")), samples: texts.fold(samples.join("\n")), reference: texts.fold(item.reference ?? "") });
    }
    return folded.get(place);
  }
  function holds(place, terms, where) {
    const parts = foldedOf(place);
    const searched = where === "all" ? Object.values(parts) : [parts[where]];
    return terms.every((term) => searched.some((part) => part.includes(term)));
  }
  function endsSo(item, end) {
    if (!end) return true;
    if (end === "failed") return Boolean(item.failure || item.missing);
    return (item.samples ?? []).some((sample) => sample.end === end);
  }

  let found = [], terms = [];
  function filter() {
    const [where, type, end, order] = [field("where").value, field("type")?.value ?? "", field("end").value, field("order").value];
    terms = texts.termsOf(field("search").value);
    found = [];
    for (let place = 0; place < items.length; place++) {
      const item = items[place];
      if ((!type || item.type === type) && endsSo(item, end) && (!terms.length || holds(place, terms, where))) found.push(place);
    }
    const [direction, name] = order.split(" ");
    const keyOf = name ? (place) => items[place].scores?.[name] ?? null : (place) => tokens[place];
    const sign = direction === "low" || direction === "short" ? 1 : -1;
    if (order) {
      found.sort((a, b) => {
        const [x, y] = [keyOf(a), keyOf(b)];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * (x - y) || a - b;
      });
    }
    field("count").textContent = found.length === items.length ? `${number(items.length)} items` : `${number(found.length)} of ${number(items.length)} items`;
    show();
  }

  function shown(tag, text, className) {
    const made = element(tag);
    if (className) made.className = className;
    return texts.show(made, text, terms, data.language);
  }
  function turnsOf(item) {
    const turns = item.turns ?? [];
    const list = element("dl", null, "turns");
    const add = (some) => some.forEach(([who, what]) => {
      const row = element("div", null, who === item.name || who === "user" ? "turn own" : "turn");
      row.append(shown("dt", who), shown("dd", what));
      list.append(row);
    });
    const hidden = terms.length ? 0 : Math.max(0, turns.length - TURNS_SHOWN);
    const earlier = hidden + (item.num_left_out ?? 0);
    if (earlier) {
      const button = element("button", hidden ? `${number(earlier)} earlier turns` : `${number(earlier)} earlier turns are not in this page`, "quiet");
      button.type = "button";
      button.disabled = !hidden;
      button.addEventListener("click", () => {
        const rest = list.children.length;
        add(turns.slice(0, hidden));
        const rows = [...list.children];
        list.replaceChildren(...rows.slice(rest), ...rows.slice(0, rest));
        if (item.num_left_out) { button.textContent = `${number(item.num_left_out)} earlier turns are not in this page`; button.disabled = true; } else button.remove();
      });
      const room = element("div");
      room.append(button);
      add(turns.slice(hidden));
      const both = document.createDocumentFragment();
      both.append(room, list);
      return both;
    }
    add(turns);
    return list;
  }
  function given(label, end, text, className) {
    const box = element("li", null, className);
    const head = element("span", label, "label");
    if (end) head.append(element("span", end, "end"));
    box.append(head, text ? shown("div", text) : element("div", "empty", "empty"));
    return box;
  }
  function bodyOf(item) {
    const body = element("div", null, "item-body");
    if (item.turns) body.append(turnsOf(item));
    if (item.asks) {
      const asks = element("div");
      asks.append(element("span", "begins with", "label"), shown("div", item.asks));
      body.append(asks);
    }
    const list = element("ul", null, "given");
    (item.samples ?? []).forEach((sample, place) => {
      const end = `${number(sample.tokens)} tokens, ${ENDS[sample.end] ?? sample.end}`;
      const box = given(item.num_samples > 1 ? `sample ${place + 1}` : "sample", end, sample.text);
      if (sample.reasoning) {
        const thought = element("details");
        thought.append(element("summary", "reasoning"), shown("div", sample.reasoning));
        box.append(thought);
      }
      list.append(box);
    });
    if (item.reference !== undefined) list.append(given("reference", "", item.reference, "reference"));
    if (list.children.length) body.append(list);
    if (item.num_samples > (item.samples ?? []).length) body.append(element("p", `${number(item.num_samples - item.samples.length)} more samples are in generations.jsonl.`, "small soft"));
    if (item.failure) body.append(noteOf("failed: ", `${item.failure.class}: ${item.failure.message}`));
    if (item.missing) body.append(element("p", "missing: it was never generated.", "note"));
    if (ITEM_KEY.test(item.key)) body.append(commandOf(item));
    return body;
  }
  // What shows the whole prompt, quoted for a shell; a click marks all of it.
  function commandOf(item) {
    const hint = element("p", "The whole prompt: ", "small soft");
    hint.append(element("code", `${data.prompts_command} '${item.key.replaceAll("'", "'\\''")}'`, "command"));
    return hint;
  }
  function noteOf(word, text) {
    const note = element("p", word, "note");
    note.append(shown("bdi", text));
    return note;
  }
  function cardOf(place) {
    const item = items[place];
    const card = element("li", null, "item");
    const head = element("div", null, "item-head");
    if (item.name) head.append(shown("bdi", item.name, "who"));
    head.append(shown("bdi", item.key, "mono"), element("span", item.type.replaceAll("_", " "), "tag"));
    const facts = [];
    if (item.prompt_tokens) facts.push(`prompt ${number(item.prompt_tokens)} tokens${item.cuts ? ", shortened to fit" : ""}`);
    for (const [name, value] of Object.entries(item.scores ?? {})) {
      const score = scoreLabels.get(name);
      if (score) facts.push(`${score.label.split(",")[0]} ${number(value, score.decimals)}`);
    }
    head.append(element("span", facts.join(" · "), "soft"));
    card.append(head, bodyOf(item));
    return card;
  }
  const list = field("list");
  const show = pager("sample", SIZE, () => found.length, (from, to) => {
    list.start = from + 1;
    list.replaceChildren(...found.slice(from, to).map(cardOf));
  });
  for (const name of ["back", "next"]) {
    field(name).addEventListener("click", () => document.getElementById("samples").scrollIntoView());
  }

  let waits;
  field("search").addEventListener("input", () => { clearTimeout(waits); waits = setTimeout(filter, WAIT_MS); });
  field("controls").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
  field("controls").addEventListener("change", (event) => { if (event.target !== field("search")) filter(); });
  filter();

  // Folding everything takes longer than people wait between two keys: it is done while nothing else is.
  let next = 0;
  const ahead = (deadline) => {
    while (next < items.length && deadline.timeRemaining() > 1) foldedOf(next++);
    if (next < items.length) requestIdleCallback(ahead);
  };
  if ("requestIdleCallback" in window) requestIdleCallback(ahead);
})();
