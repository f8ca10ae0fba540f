// Who did what when: every slot of every task as a row of phases, and how many slots were in which phase.
"use strict";
(() => {
  const timeline = data.timeline;
  if (!timeline) return;
  const { number, duration, make, pager } = tables;
  const { color, axis, timeAxis, counted, end } = charts;
  const ROWS = 30, BINS = 240;
  // Colour, pattern and its ink: what a phase is can be told without colours.
  const LOOKS = {
    queued: ["line", "", "ink-soft"], setup: ["line", ".", "ink-soft"], loading: ["series-6", "/", "paper"], compiling: ["series-2", "\\", "paper"],
    generating: ["series-1", "", "paper"], draining: ["series-4", "-", "paper"], idle_tail: ["series-7", "|", "ink-soft"], lost: ["series-5", "x", "paper"],
    repeated: ["series-3", "+", "paper"], unused: ["panel", "/", "ink-soft"],
  };
  const names = timeline.phases;
  const words = names.map((name) => name.replaceAll("_", " "));
  const look = (phase) => LOOKS[names[phase]] ?? ["series-8", charts.PATTERNS[phase % charts.PATTERNS.length], "paper"];

  // Rows by task and slot; what is of no slot stands in the first one, GPUs that no slot was given in their own.
  const rows = new Map();
  for (const attempt of timeline.attempts) {
    for (const [phase, slot, from, to] of attempt.spans) {
      const place = slot >= 0 ? slot : names[phase] === "unused" ? "other" : 0;
      const key = `${attempt.submission}/${attempt.task}/${place}`;
      if (!rows.has(key)) rows.set(key, { attempt, place, spans: [], ends: [], attempts: new Set() });
      const row = rows.get(key);
      row.spans.push([phase, from, to, attempt]);
      row.attempts.add(attempt);
    }
  }
  const all = [...rows.values()];
  const several = { submissions: new Set(all.map((row) => row.attempt.submission)).size > 1, slots: all.some((row) => row.place !== 0) };
  for (const row of all) {
    const { submission, task } = row.attempt;
    row.label = `${several.submissions ? `${submission} / ` : ""}task ${task}${row.place === "other" ? ", no slot" : several.slots ? `, slot ${row.place}` : ""}`;
    row.isTrouble = row.attempts.size > 1 || [...row.attempts].some((each) => each.end === "failed" || each.end === "killed");
    for (const attempt of row.attempts) {
      if (attempt.end !== "ended") row.ends.push([Math.max(...row.spans.filter((span) => span[3] === attempt).map((span) => span[2])), attempt]);
    }
  }
  const told = { killed: "killed", failed: "failed", continued: "went on in another attempt" };
  const about = (attempt) => `attempt ${attempt.attempt}${attempt.host ? ` on ${texts.plain(attempt.host)}` : ""}`;
  const SYMBOLS = { killed: "x", failed: "x-thin-open", continued: "triangle-right" };

  function traces(shown) {
    const used = [...new Set(shown.flatMap((row) => row.spans.map((span) => span[0])))].sort((a, b) => a - b);
    const bars = used.map((phase) => {
      const spans = shown.flatMap((row) => row.spans.filter((span) => span[0] === phase).map((span) => [row, span]));
      const [tone, shape, ink] = look(phase);
      return {
        type: "bar", orientation: "h", name: words[phase], y: spans.map(([row]) => row.label), base: spans.map(([, span]) => span[1]), x: spans.map(([, span]) => span[2] - span[1]),
        customdata: spans.map(([row, span]) => `${row.label}, ${about(span[3])}<br>${words[phase]}: ${duration(span[1])} to ${duration(span[2])}, ${duration(Math.round((span[2] - span[1]) * 10) / 10)}`),
        hovertemplate: "%{customdata}<extra></extra>", marker: { color: color(tone), pattern: { shape, fillmode: "overlay", fgcolor: color(ink), size: 6, solidity: 0.25 }, line: { width: 0 } },
      };
    });
    const ends = shown.flatMap((row) => row.ends.map(([at, attempt]) => [row, at, attempt]));
    if (ends.length) {
      bars.push({
        type: "scatter", mode: "markers", name: "attempt cut or failed", x: ends.map(([, at]) => at), y: ends.map(([row]) => row.label),
        marker: { symbol: ends.map(([, , attempt]) => SYMBOLS[attempt.end]), size: 10, color: color("ink"), line: { width: 2, color: color("ink") } },
        customdata: ends.map(([row, at, attempt]) => `${row.label}, ${about(attempt)}<br>${told[attempt.end]} after ${duration(at)}`), hovertemplate: "%{customdata}<extra></extra>", cliponaxis: false,
      });
    }
    return bars;
  }
  function table(shown) {
    const lines = shown.flatMap((row) => row.spans.map(([phase, from, to, attempt]) => [row.label, String(attempt.attempt), attempt.host ?? "", words[phase], duration(from), duration(to), `${number(to - from, 1)} s`]));
    return make(["Row", "Attempt", "Host", "Phase", "From", "To", "Takes"], lines, 4);
  }

  const filter = document.getElementById("task-filter");
  const chosen = () => (filter.value === "trouble" ? all.filter((row) => row.isTrouble) : all);
  const show = pager("task", ROWS, () => chosen().length, (from, to) => {
    const shown = chosen().slice(from, to);
    charts.set("tasks", {
      traces: () => traces(shown),
      shape: (width) => ({
        barmode: "overlay", bargap: 0.25, hovermode: "closest", height: 120 + Math.max(4, shown.length) * 22, xaxis: timeAxis(end, width),
        yaxis: { ...axis(), type: "category", autorange: "reversed", categoryorder: "array", categoryarray: shown.map((row) => row.label) },
      }),
      table: () => table(shown),
    });
  });
  filter.addEventListener("change", () => show());

  // Slots in each phase, by the middle of each bin.
  function phases() {
    const width = end / BINS;
    const counts = names.map(() => new Array(BINS).fill(0));
    for (const row of all) {
      for (const [phase, from, to] of row.spans) {
        for (let bin = Math.max(0, Math.ceil(from / width - 0.5)); bin < BINS && (bin + 0.5) * width < to; bin++) counts[phase][bin] += 1;
      }
    }
    const middles = Array.from({ length: BINS }, (_, bin) => Math.round((bin + 0.5) * width * 10) / 10);
    const used = names.map((_, phase) => phase).filter((phase) => counts[phase].some(Boolean));
    return {
      traces: () => used.map((phase) => ({
        name: words[phase], x: middles, y: counts[phase], stackgroup: "slots", mode: "lines", line: { width: 0.5, color: color(look(phase)[0]), shape: "hv" },
        fillcolor: color(look(phase)[0]), fillpattern: { shape: look(phase)[1], fillmode: "overlay", fgcolor: color(look(phase)[2]), size: 6, solidity: 0.25 }, hovertemplate: `${words[phase]}: %{y:,}<extra></extra>`,
      })),
      shape: (wide) => ({ xaxis: timeAxis(end, wide), yaxis: { ...axis("slots"), ...counted(rows.size), rangemode: "tozero" } }),
      table: () => make(["At", ...used.map((phase) => words[phase])], middles.map((at, bin) => [duration(at), ...used.map((phase) => number(counts[phase][bin]))])),
    };
  }
  const none = "No attempt left a time.";
  charts.set("phases", end > 0 ? phases() : null, none);
  document.getElementById("task-controls").hidden = all.length <= ROWS && !all.some((row) => row.isTrouble);
  if (end > 0) show(); else charts.set("tasks", null, none);
})();
