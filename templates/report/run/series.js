// Throughput, GPU readings and lengths.
"use strict";
(() => {
  const { number, duration, make } = tables;
  const { color, axis, timeAxis, counted, PATTERNS, end } = charts;
  const timeline = data.timeline;
  const round = (value) => (value < 10 ? Math.round(value * 100) / 100 : Math.round(value * 10) / 10);

  // A step line over bins; x is where each bin begins, and the last one ends.
  function steps(name, starts, values, look) {
    return {
      name, x: starts, y: values, mode: "lines", line: { shape: "hv", width: 2, color: color(look.color), dash: look.dash },
      fill: look.fill, fillcolor: look.fill && `${color(look.color)}33`, hovertemplate: look.hover, connectgaps: false,
      showlegend: look.legend ?? true, xaxis: "x", yaxis: look.yaxis ?? "y",
    };
  }
  function binStarts(begin, width, count) {
    return Array.from({ length: count + 1 }, (_, place) => Math.max(0, begin + place * width));
  }
  const closed = (values) => [...values, values.at(-1) ?? null];

  function throughput() {
    const found = data.throughput;
    if (!found) return null;
    const begin = timeline?.begin ?? found.begin;
    const starts = binStarts(found.begin - begin, found.bin_s, found.items.length);
    const tokens = found.tokens.map((value) => round(value / found.bin_s));
    const items = found.items.map((value) => round((value * 60) / found.bin_s));
    return {
      traces: () => [
        steps("output tokens a second", starts, closed(tokens), { color: "series-1", fill: "tozeroy", hover: "%{y:,} tokens/s<extra></extra>" }),
        steps("items a minute", starts, closed(items), { color: "series-5", dash: "dash", fill: "tozeroy", yaxis: "y2", hover: "%{y:,} items/min<extra></extra>" }),
      ],
      shape: (width) => ({
        height: 420, xaxis: { ...timeAxis(Math.max(end, starts.at(-1)), width), anchor: "y2" },
        yaxis: { ...axis("tokens / s"), domain: [0.55, 1], rangemode: "tozero" },
        yaxis2: { ...axis("items / min"), domain: [0, 0.42], rangemode: "tozero" },
      }),
      table: () => make(["From", "Output tokens / s", "Items / min", "Items"],
        found.items.map((count, place) => [duration(starts[place]), number(tokens[place], 1), number(items[place], 1), number(count)])),
    };
  }

  // From the least to the most in each bin, as bars: an area between lines would go astray where there is a gap.
  function band(starts, low, high) {
    return {
      type: "bar", x: low.map((_, place) => (starts[place] + starts[place + 1]) / 2), base: low, y: high.map((value, place) => (value === null ? null : value - low[place])),
      width: low.map((_, place) => starts[place + 1] - starts[place]), marker: { color: `${color("series-3")}30`, line: { width: 0 } }, hoverinfo: "skip", showlegend: false,
    };
  }
  // A mean with the band from the least to the most, or a mean and a peak.
  function readings(telling, mean, low, high, unit, title, top) {
    const gpu = timeline?.gpu;
    if (!gpu) return null;
    const starts = binStarts(0, gpu.bin_s, gpu.num_gpus.length);
    const hover = (word) => `${word} %{y:.1f} ${unit}<extra></extra>`;
    return {
      traces: () => [
        ...(low ? [band(starts, gpu[low], gpu[high])] : []),
        ...(low ? [steps("least used", starts, closed(gpu[low]), { color: "series-5", dash: "dot", hover: hover("least") })] : []),
        steps(low ? "most used" : "the one with most", starts, closed(gpu[high]), { color: "series-3", dash: "dash", hover: hover("most") }),
        steps("mean", starts, closed(gpu[mean]), { color: "series-1", hover: hover("mean") }),
      ],
      shape: (width) => ({ xaxis: timeAxis(Math.max(end, starts.at(-1)), width), yaxis: { ...axis(title), rangemode: "tozero", ...(top && { range: [0, top] }) }, bargap: 0 }),
      table: () => make(["From", "GPUs", "Mean", ...(low ? ["Least"] : []), "Most"],
        (gpu[telling] ?? gpu.num_gpus).map((count, place) => [duration(starts[place]), number(count), ...[mean, ...(low ? [low] : []), high].map((name) => number(gpu[name][place], 1))])),
    };
  }

  const WORDS = { items: "items", stop: "ended by itself", length: "cut at max_tokens" };
  function lengths(found, unit) {
    if (!found) return null;
    const names = Object.keys(found.counts);
    const ranges = found.edges.slice(0, -1).map((edge, place) => {
      const last = found.edges[place + 1] - 1;
      return edge === last ? number(edge) : `${number(edge)} to ${number(last)}`;
    });
    const width = found.edges[1] - found.edges[0];
    const middle = width === 1 ? 0 : width / 2; // of a bin: of one value, that value
    const most = Math.max(...ranges.map((_, place) => names.reduce((sum, name) => sum + found.counts[name][place], 0)));
    return {
      traces: () => names.map((name, place) => ({
        type: "bar", name: WORDS[name] ?? name, x: found.edges.slice(0, -1).map((edge) => edge + middle), y: found.counts[name], customdata: ranges,
        width: width * 0.94, hovertemplate: "%{customdata} tokens: %{y:,}<extra></extra>", showlegend: names.length > 1,
        marker: { color: color(name === "length" ? "series-2" : "series-1"), pattern: { shape: PATTERNS[name === "length" ? 1 : 0], fillmode: "overlay", fgcolor: color("paper"), size: 6 } },
      })),
      shape: () => ({ barmode: "stack", hovermode: "closest", bargap: 0, xaxis: { ...axis("tokens"), ...counted(found.edges.at(-1) - found.edges[0]), range: [found.edges[0] + middle - width / 2, found.edges.at(-1) + middle - width / 2] }, yaxis: { ...axis(unit), ...counted(most) } }),
      table: () => make(["Tokens", ...names.map((name) => WORDS[name] ?? name)], ranges.map((range, place) => [range, ...names.map((name) => number(found.counts[name][place]))])),
      said: `Half have at most ${number(found.median)}, the mean is ${number(found.mean, 1)}, the longest has ${number(found.largest)}.`,
    };
  }
  for (const [name, unit] of [["prompt_tokens", "items"], ["output_tokens", "samples"]]) {
    const spec = lengths(data[name], unit);
    charts.set(name, spec, "There is no item with samples.");
    if (spec) document.querySelector(`[data-chart="${name}"] figcaption p`).append(` ${spec.said}`);
  }
  const untimed = data.throughput?.num_untimed;
  charts.set("throughput", throughput(), "No result has a time: all of them were recovered from files without commits.");
  if (untimed) document.querySelector('[data-chart="throughput"] figcaption p').append(` ${number(untimed)} recovered items have no time and are not in it.`);
  charts.set("utilization", readings("num_utilization_gpus", "utilization_mean", "utilization_low", "utilization_high", "%", "per cent", 102));
  charts.set("memory", readings("num_memory_gpus", "memory_mean_gib", null, "memory_high_gib", "GiB", "GiB"));
})();
