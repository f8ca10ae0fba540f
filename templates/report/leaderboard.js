// Sorts, filters, ranks by another score and lays two runs side by side. Texts go into the page as textContent only.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const boards = [...document.querySelectorAll(".board table")].map((table) => ({
    table,
    section: table.closest(".board"),
    body: table.tBodies[0],
    rows: [...table.tBodies[0].rows],
  }));
  const rows = boards.flatMap((board) => board.rows);
  const runOf = (row) => data.runs[row.dataset.run];
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const number = (value, decimals) =>
    value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

  const signed = (value, decimals) => `${value < 0 ? "−" : "+"}${number(Math.abs(value), decimals)}`;

  // Sorting: a button in each header; the first press sorts as one would look for the best, the next turns it.
  const sortable = (board) => [...board.table.tHead.rows[0].cells].filter((cell) => "sortable" in cell.dataset);
  const isNumber = (cell) => cell.classList.contains("number");

  function sort(board, head, direction) {
    const place = head.cellIndex;
    const key = (row) => row.cells[place].dataset.sort ?? "";
    const numeric = isNumber(head) && board.rows.every((row) => key(row) === "" || !isNaN(key(row)));
    const sign = direction === "ascending" ? 1 : -1;
    const compare = numeric ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    const keyed = board.rows.map((row) => [key(row), row]);
    // What is not known stands last either way.
    keyed.sort(([a], [b]) => (a === "") - (b === "") || (a === "" ? 0 : sign * compare(a, b)));
    board.rows = keyed.map(([, row]) => row);
    board.body.append(...board.rows);
    told(board, head, direction);
  }

  function told(board, head, direction) {
    for (const each of sortable(board)) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    if (board.sortBy) board.sortBy.value = `${head.cellIndex} ${direction}`;
  }

  function firstDirection(head) {
    const better = head.dataset.better ?? (head.classList.contains("score") ? "higher" : "");
    if (better) return better === "lower" ? "ascending" : "descending";
    return isNumber(head) && head.textContent !== "Rank" ? "descending" : "ascending";
  }

  function makeSortable(board) {
    for (const head of sortable(board)) {
      const button = element("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const turned = now === "ascending" ? "descending" : "ascending";
        sort(board, head, now ? turned : firstDirection(head));
      });
      head.append(button);
    }
    const scored = data.columns[board.section.dataset.board] ?? [];
    const heads = [...board.table.tHead.querySelectorAll(".score:not(.extra)")];
    heads.forEach((head, place) => { head.dataset.better = data.labels[scored[place]].better; });
    board.sortBy = board.section.querySelector(".sort-by");
    fillSortBy(board);
    board.sortBy.addEventListener("change", () => {
      const [place, direction] = board.sortBy.value.split(" ");
      sort(board, board.table.tHead.rows[0].cells[place], direction);
    });
    const rank = sortable(board).find((head) => head.textContent === "Rank");
    if (rank) told(board, rank, "ascending"); // as the page was written
  }

  function fillSortBy(board) {
    board.sortBy.replaceChildren();
    for (const head of sortable(board).filter((each) => !each.hidden)) {
      for (const direction of ["ascending", "descending"]) {
        const option = element("option", `${head.textContent}, ${direction}`);
        option.value = `${head.cellIndex} ${direction}`;
        board.sortBy.append(option);
      }
    }
  }

  // Ranking: the ranks are in the data; a score that has no column of its own is shown in one more.
  function rankBy(board, key) {
    const label = data.labels[key];
    const columns = data.columns[board.section.dataset.board];
    const hasColumn = columns.includes(key);
    let ranked = 0;
    for (const row of board.rows) {
      const run = runOf(row);
      const rank = run.ranks[key];
      if (rank !== undefined) ranked += 1;
      const cell = row.querySelector(".rank");
      cell.textContent = rank ?? "–";
      cell.dataset.sort = rank ?? "";
      fillExtra(row.querySelector(".extra"), hasColumn ? undefined : key, run);
    }
    const head = board.table.tHead.querySelector(".extra");
    head.hidden = hasColumn;
    if (!hasColumn) {
      head.querySelector("button").textContent = label.label;
      head.style.whiteSpace = "normal";
      head.dataset.better = label.better;
    }
    board.section.querySelector(".explains").textContent =
      `${ranked} of ${board.rows.length} ${board.rows.length === 1 ? "run" : "runs"} ranked by ${label.label}, ${label.better} is better,`;
    fillSortBy(board);
    sort(board, sortable(board).find((each) => each.textContent === "Rank"), "ascending");
  }

  function fillExtra(cell, key, run) {
    cell.hidden = key === undefined;
    if (cell.hidden) return;
    const score = run.scores[key];
    cell.dataset.label = data.labels[key].label;
    cell.dataset.sort = score ? score[0] : "";
    cell.replaceChildren(...(score ? shownScore(score, key) : ["–"]));
  }

  function shownScore(score, key) {
    return [element("b", number(score[0], data.labels[key].decimals)), " ", element("span", interval(score, key), "interval")];
  }

  function interval([, low, high], key) {
    if (low === null || high === null) return "no interval";
    const decimals = data.labels[key].decimals;
    return `${number(low, decimals)} to ${number(high, decimals)}`;
  }

  // Filters: all words of the search, and what is chosen.
  const form = document.querySelector(".filters");
  const search = document.getElementById("search");
  const choices = [...form.querySelectorAll("[data-choice]")];
  const texts = new Map(rows.map((row) => [row, `${row.textContent} ${runOf(row).name}`.toLowerCase()]));

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const choice = runOf(row).choice;
      const fits = choices.every((each, place) => each.value === "" || choice[place] === Number(each.value));
      row.hidden = !fits || !words.every((word) => texts.get(row).includes(word));
      if (!row.hidden) shown += 1;
    }
    for (const board of boards) board.section.hidden = board.rows.every((row) => row.hidden);
    document.getElementById("count").textContent = `${shown} of ${rows.length} runs`;
  }

  // Comparison: two runs that are ticked.
  const tray = document.getElementById("tray");
  const dialog = document.getElementById("comparison");
  const ticks = [...document.querySelectorAll(".tick input")];
  const ticked = () => ticks.filter((tick) => tick.checked);

  function tell() {
    const chosen = ticked();
    const isFull = chosen.length === 2;
    for (const tick of ticks) {
      tick.disabled = isFull && !tick.checked;
      tick.closest("tr").classList.toggle("ticked", tick.checked);
    }
    tray.hidden = chosen.length === 0;
    document.getElementById("compare").disabled = !isFull;
    document.getElementById("chosen").textContent = isFull
      ? chosen.map((tick) => data.runs[tick.dataset.run].name).join(" and ")
      : "Tick one more run to compare.";
  }

  function table(heads, lines) {
    const made = element("table");
    const head = element("tr");
    head.append(...heads.map((text) => Object.assign(element("th", text), { scope: "col" })));
    made.createTHead().append(head);
    const body = made.createTBody();
    for (const [first, ...cells] of lines) {
      const row = body.insertRow();
      row.append(Object.assign(element("th", first), { scope: "row" }));
      row.append(...cells.map((cell) => (cell instanceof Node ? cell : element("td", cell))));
    }
    const around = element("div", undefined, "scroll");
    around.append(made);
    return around;
  }

  function scoreLine(key, a, b) {
    const decimals = data.labels[key].decimals;
    const shown = [a, b].map((score) => (score ? `${number(score[0], decimals)} (${interval(score, key)})` : "–"));
    return [data.labels[key].label, ...shown, element("td", verdict(key, a, b))];
  }

  function verdict(key, a, b) {
    if (!a || !b) return "–";
    if (a[4] !== b[4]) return "not comparable: other items, references or ways";
    const { decimals, better } = data.labels[key];
    const difference = b[0] - a[0];
    if (difference === 0) return "the same";
    let said = signed(difference, decimals);
    if (better) said += (difference > 0) === (better === "higher") ? ", B better" : ", A better";
    if ([a, b].some((score) => score[1] === null || score[2] === null)) return said;
    return `${said}; intervals ${a[1] <= b[2] && b[1] <= a[2] ? "overlap" : "apart"}`;
  }

  function figureLine([label, a, aText], [, b, bText]) {
    let said = "–";
    if (a !== null && b !== null && a !== 0) said = `${signed((b / a - 1) * 100, 1)} %`;
    return [label, aText, bText, said];
  }

  function fill(a, b) {
    const heads = [`A: ${a.name}`, `B: ${b.name}`];
    const body = document.getElementById("comparison-body");
    body.replaceChildren();
    for (const [letter, run] of [["A", a], ["B", b]]) {
      if (run.marks.length) body.append(element("p", `${letter} is not ranked: ${run.marks.join(", ")}.`, "note"));
    }
    const differing = data.settings
      .map((name, place) => [name, a.settings[place], b.settings[place]])
      .filter(([, one, other]) => one !== other);
    body.append(element("h3", "Settings that differ"));
    body.append(differing.length ? table(["Setting", ...heads], differing) : element("p", "None."));
    const keys = Object.keys(data.labels).filter((key) => a.scores[key] || b.scores[key]);
    body.append(element("h3", "Scores, with 95 % intervals"));
    body.append(
      keys.length
        ? table(["Score", ...heads, "B − A"], keys.map((key) => scoreLine(key, a.scores[key], b.scores[key])))
        : element("p", "Neither has scores."),
    );
    body.append(element("p", "Intervals are of each run alone. `vllm-launch compare A B` pairs their items and is sharper.", "soft small"));
    body.append(element("h3", "Speed and cost"));
    body.append(table(["Figure", ...heads, "B to A"], a.figures.map((figure, place) => figureLine(figure, b.figures[place]))));
  }

  for (const board of boards) {
    makeSortable(board);
    const rankSelect = board.section.querySelector(".rank-by");
    rankSelect?.addEventListener("change", () => rankBy(board, rankSelect.value));
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  for (const tick of ticks) {
    tick.checked = false; // a browser that goes back remembers ticks
    tick.addEventListener("change", tell);
  }
  document.getElementById("untick").addEventListener("click", () => {
    for (const tick of ticked()) tick.checked = false;
    tell();
    ticks[0].focus();
  });
  document.getElementById("compare").addEventListener("click", () => {
    fill(...ticked().map((tick) => data.runs[tick.dataset.run]));
    dialog.showModal();
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  filter();
})();
