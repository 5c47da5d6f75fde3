"use strict";
// Charts of ranked rows as SVG, in the look of the report's own plots (report/plot): Okabe and Ito's colours, which
// colour-blind readers can tell apart; marks that differ in shape and bars that differ in lightness, so that a grey print
// still reads. Text from data goes in by textContent alone.
(function (sizewell) {
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 760;
  const INK = "#3c3c3c";
  const GRID = "#e1e1e1";
  /** Room for the names of offers. */
  const NAMES = 300;
  const HALO = { stroke: "#fff", "stroke-width": 3, "stroke-linejoin": "round", "paint-order": "stroke" };
  /** How each basis is drawn: colour and mark. */
  const BASES = {
    measured: { colour: "#0072b2", shape: "circle", words: "circles" },
    projected: { colour: "#d55e00", shape: "square", words: "squares" },
    imported: { colour: "#009e73", shape: "triangle", words: "triangles" },
  };
  /** The fill of each component: neighbours differ in lightness. */
  const FILLS = Object.fromEntries(sizewell.components.map(({ name, fill }) => [name, fill]));

  /** An SVG element with its attributes and children, which are elements or text. */
  function svg(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    element.append(...children);
    return element;
  }

  /** Text at a point; `anchor` is start, middle or end. */
  function text(x, y, words, { size = 13, anchor = "start", fill = INK } = {}) {
    const attributes = { x, y, "font-size": size, "text-anchor": anchor, fill, "dominant-baseline": "central" };
    return svg("text", attributes, words);
  }

  function line(x1, y1, x2, y2, stroke, width = 1) {
    return svg("line", { x1, y1, x2, y2, stroke, "stroke-width": width });
  }

  /** The mark of a basis, with words that show when it is pointed at. */
  function mark(basis, x, y, words) {
    const { colour, shape } = BASES[basis] || BASES.projected;
    const r = 5;
    const at = { fill: colour, stroke: "#fff", "stroke-width": 0.75, class: "mark" };
    const title = words ? [svg("title", {}, words)] : [];
    if (shape === "circle") return svg("circle", { cx: x, cy: y, r, ...at }, ...title);
    if (shape === "triangle") {
      return svg("path", { d: `M${x},${y - r}l${r},${2 * r - 1}h${-2 * r}z`, ...at }, ...title);
    }
    return svg("rect", { x: x - r + 1, y: y - r + 1, width: 2 * r - 2, height: 2 * r - 2, ...at }, ...title);
  }

  /** A name cut to `most` characters. */
  function shortened(name, most) {
    const letters = [...name];
    return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : name;
  }

  /** The offer and place of a row, with its level where there are several, cut to `most` characters but for the level. */
  function nameOf(row, quants, most = Infinity) {
    const level = quants.length > 1 ? ` ${row.quant}` : "";
    return shortened(sizewell.format.offerName(row), most - level.length) + level;
  }

  /** Powers of ten, with 2 and 5 between where the range is short, that cover low to high. */
  function logTicks(low, high) {
    const steps = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
      for (const step of steps) ticks.push(Number(`${step}e${e}`));
    }
    return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  }

  /** A number on an axis: 1, 250, 20k, 0.01. */
  function tick(value) {
    const [size, unit] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([s]) => value >= s) || [1, ""];
    const scale = unit === "k" ? 1e3 : size;
    const digits = sizewell.format.digits(value / scale);
    return (digits.includes(".") ? digits.replace(/0+$/, "").replace(/\.$/, "") : digits) + unit;
  }

  /** A logarithmic scale over all values with some room at both ends. */
  function logScale(values, from, to) {
    const real = values.filter((value) => Number.isFinite(value) && value > 0);
    if (real.length === 0) return null;
    const low = Math.min(...real) / 1.3;
    const high = Math.max(...real) * 1.3;
    const at = (value) => from + (Math.log(Math.max(value, low) / low) / Math.log(high / low)) * (to - from);
    return { at, ticks: logTicks(low, high) };
  }

  /** A figure with its title and description for screen readers, and a caption below. */
  function figure(name, height, title, description, caption, parts) {
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "img", "font-family": "sans-serif" },
      svg("title", {}, title),
      svg("desc", {}, description),
      svg("rect", { width: WIDTH, height, fill: "#fff" }),
      text(12, 18, title, { size: 17, fill: "#000" }),
      ...parts,
    );
    const out = document.createElement("figure");
    const words = document.createElement("figcaption");
    words.className = "notes";
    words.textContent = caption;
    out.id = `explore-${name}`;
    out.append(picture, words);
    return out;
  }

  /** `1 measured (circles), 19 projected (squares)`. */
  function bases(rows, marks = true) {
    return Object.entries(BASES)
      .map(([basis, { words }]) => [rows.filter((row) => row.basis === basis).length, basis, words])
      .filter(([count]) => count > 0)
      .map(([count, basis, words]) => (marks ? `${count} ${basis} (${words})` : `${count} ${basis}`))
      .join(", ");
  }

  /** What a chart's figures are based on: how many of which basis, the requests, the load and the prices. */
  function basisOf(rows, ranking, marks = true) {
    const { prompt_tokens: prompt, gen_tokens: generated, today, catalog_origin: origin } = sizewell.model;
    const { tokens, usage, ages } = sizewell.format;
    const old = ages(rows);
    const prices = `prices of the ${origin} catalog${old ? `, ${old} days old on ${today}` : ""}`;
    const requests = `${tokens(prompt)} prompt and ${tokens(generated)} generated tokens`;
    return `${rows.length} offers: ${bases(rows, marks)}; ${requests}, ${usage(ranking.usage)}; ${prices}.`;
  }

  function range([value, lo, hi]) {
    const { money } = sizewell.format;
    return `${money(value)} (${money(lo)} to ${money(hi)})`;
  }

  /** Marks and names of the bases that there are. */
  function legend(rows, y) {
    const used = Object.keys(BASES).filter((basis) => rows.some((row) => row.basis === basis));
    return used.flatMap((basis, place) => [
      mark(basis, 18 + 100 * place, y),
      text(30 + 100 * place, y, basis),
    ]);
  }

  /** Cost of a million generated tokens by offer, with intervals, on a logarithmic axis; null where nothing has a cost. */
  function costChart(ranking) {
    const rows = sizewell.shown(ranking.rows, 20).map(({ row }) => row).filter((row) => row.usd_per_million_tokens);
    const [top, step, right] = [64, 24, WIDTH - 30];
    const scale = logScale(rows.flatMap((row) => row.usd_per_million_tokens), NAMES, right);
    if (!scale) return null;
    const bottom = top + step * rows.length;
    const title = `Cost of a million generated tokens, ${ranking.quants.join(", ")}`;
    const parts = legend(rows, 42);
    for (const value of scale.ticks) {
      parts.push(line(scale.at(value), top - 8, scale.at(value), bottom, GRID));
      parts.push(text(scale.at(value), bottom + 14, `$${tick(value)}`, { anchor: "middle" }));
    }
    parts.push(text((NAMES + right) / 2, bottom + 36, "USD per million generated tokens", { anchor: "middle" }));
    rows.forEach((row, index) => {
      const y = top + step * index + step / 2;
      const [value, lo, hi] = row.usd_per_million_tokens;
      const { colour } = BASES[row.basis] || BASES.projected;
      const name = nameOf(row, ranking.quants);
      parts.push(text(NAMES - 12, y, nameOf(row, ranking.quants, 46), { size: 12, anchor: "end" }));
      parts.push(line(scale.at(lo), y, scale.at(hi), y, colour, 2));
      for (const end of [lo, hi]) parts.push(line(scale.at(end), y - 4, scale.at(end), y + 4, colour, 2));
      parts.push(mark(row.basis, scale.at(value), y, `${name}: ${range(row.usd_per_million_tokens)}`));
    });
    const description =
      `${rows.length} offers from cheapest to dearest, ${bases(rows)}; lines are the intervals. ` +
      `The cheapest is ${nameOf(rows[0], ranking.quants)}: ${range(rows[0].usd_per_million_tokens)}.`;
    const caption = `${basisOf(rows, ranking)} Lines: the interval of the cost, which follows from those of TTFT and TPOT.`;
    return figure("cost", bottom + 56, title, description, caption, parts);
  }

  /** Places names beside points so that none covers another; those that find no place are left to the description. */
  function labels(points, left, right) {
    const taken = [];
    const out = [];
    for (const { x, y, short: words } of points) {
      const width = 6.3 * words.length;
      const atEnd = x > (left + right) / 2;
      const x0 = atEnd ? x - 9 - width : x + 9;
      const fits = (y0) => taken.every((t) => x0 > t.x + t.width || x0 + width < t.x || Math.abs(y0 - t.y) > 13);
      const free = [y - 9, y + 10, y - 23, y + 24].find(fits);
      if (free === undefined) continue;
      taken.push({ x: x0, y: free, width });
      const label = text(atEnd ? x - 9 : x + 9, free, words, { size: 12, anchor: atEnd ? "end" : "start" });
      // White around the letters, so that they can be read where dots are.
      for (const [key, value] of Object.entries(HALO)) label.setAttribute(key, value);
      out.push(label);
    }
    return out;
  }

  /** Cost of a thousand requests against E2E with the Pareto front; null where fewer than two rows have a cost. */
  function frontChart(ranking) {
    const { seconds } = sizewell.format;
    const rows = ranking.rows.filter((row) => row.usd_per_request && row.usd_per_request[0] > 0 && row.e2e_s[0] > 0);
    if (rows.length < 2) return null;
    const [height, left, right, top, bottom] = [460, 90, WIDTH - 30, 60, 400];
    const costs = rows.map((row) => row.usd_per_thousand_requests[0]);
    const xs = logScale(rows.map((row) => row.e2e_s[0]), left, right);
    const ys = logScale(costs, bottom, top);
    const points = rows.map((row, index) => ({
      row,
      x: xs.at(row.e2e_s[0]),
      y: ys.at(costs[index]),
      name: nameOf(row, ranking.quants),
      short: nameOf(row, ranking.quants, 34),
    }));
    const front = points.filter(({ row }) => row.on_front);
    const parts = [
      text(12, 40, "line: the Pareto front, where no other offer is both cheaper and faster; dots: the other projected ones"),
    ];
    for (const time of xs.ticks) {
      parts.push(line(xs.at(time), top, xs.at(time), bottom, GRID));
      parts.push(text(xs.at(time), bottom + 14, `${tick(time)} s`, { anchor: "middle" }));
    }
    for (const value of ys.ticks) {
      parts.push(line(left, ys.at(value), right, ys.at(value), GRID));
      parts.push(text(left - 6, ys.at(value), `$${tick(value)}`, { anchor: "end" }));
    }
    const words = "E2E, s (left is faster); up is dearer, USD per thousand requests";
    parts.push(text((left + right) / 2, bottom + 38, words, { anchor: "middle" }));
    // One path for all dots: thousands of elements would make every change slow.
    const dots = points.filter(({ row }) => !row.on_front && row.basis === "projected");
    const dot = ({ x, y }) => `M${(x - 2).toFixed(1)},${y.toFixed(1)}a2,2 0 1,0 4,0a2,2 0 1,0 -4,0`;
    parts.push(svg("path", { d: dots.map(dot).join(""), fill: BASES.projected.colour, "fill-opacity": 0.5 }));
    const way = front.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
    parts.push(svg("polyline", { points: way, fill: "none", stroke: INK, "stroke-width": 2, class: "front" }));
    const marked = points.filter(({ row }) => row.on_front || row.basis !== "projected");
    for (const { row, x, y, name } of marked.reverse()) {
      const { usd_per_thousand_requests: cost } = row;
      parts.push(mark(row.basis, x, y, `${name}: ${seconds(row.e2e_s[0])}, ${range(cost)} per thousand requests`));
    }
    const others = points.filter(({ row }) => row.basis !== "projected" && !row.on_front);
    parts.push(...labels([...front.slice(0, 8), ...others.slice(0, 8)], left, right));
    const title = `Cost against latency (E2E), ${ranking.quants.join(", ")}`;
    const names = front.map(({ name, row }) => `${name} (${seconds(row.e2e_s[0])})`).join(", ");
    const description =
      `${rows.length} offers by E2E and the cost of a thousand requests, ${bases(rows)}. ` +
      `No offer is both cheaper and faster than these: ${names}.`;
    const caption = `${basisOf(rows, ranking)} Points are values; the table has the intervals.`;
    return figure("front", height, title, description, caption, parts);
  }

  /** One stacked bar with its name and sum. */
  function bar(row, y, height, scale, quants) {
    const { money, words } = sizewell.format;
    const name = nameOf(row, quants);
    const parts = [text(NAMES - 12, y + height / 2, nameOf(row, quants, 46), { size: 12, anchor: "end" })];
    let sum = 0;
    for (const [component, cost] of Object.entries(row.components)) {
      const value = cost[0] * 1e3;
      const from = scale(sum);
      sum += value;
      const size = { x: from, y: y + 4, width: scale(sum) - from, height: height - 8 };
      const fill = FILLS[component];
      const title = svg("title", {}, `${name}, ${words(component)}: ${money(value)}`);
      if (size.width > 0.3) parts.push(svg("rect", { ...size, fill, stroke: INK, "stroke-width": 0.75 }, title));
    }
    const doubt = row.doubts.length > 0 ? "*" : "";
    parts.push(text(scale(sum) + 6, y + height / 2, `${money(sum)}${doubt}`, { size: 12 }));
    return parts;
  }

  /** What a thousand requests cost, as stacked bars of components; null where nothing has a cost. */
  function stackChart(ranking) {
    const { money, digits, words } = sizewell.format;
    const rows = sizewell.shown(ranking.rows, 12).map(({ row }) => row).filter((row) => row.components);
    const most = Math.max(0, ...rows.map((row) => row.usd_per_thousand_requests[0]));
    if (!(most > 0)) return null;
    const used = sizewell.cost.COMPONENTS.filter((name) => rows.some((row) => row.components[name]));
    const [step, right] = [26, WIDTH - 90];
    const top = 44 + 20 * Math.ceil(used.length / 5);
    const bottom = top + step * rows.length;
    const scale = (value) => NAMES + (value / most) * (right - NAMES);
    const parts = used.flatMap((name, place) => {
      const [x, y] = [18 + 145 * (place % 5), 42 + 20 * Math.floor(place / 5)];
      const fill = FILLS[name];
      return [
        svg("rect", { x, y: y - 6, width: 12, height: 12, fill, stroke: INK }),
        text(x + 18, y, words(name)),
      ];
    });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const x = scale(most * share);
      parts.push(line(x, top - 4, x, bottom, GRID));
      parts.push(text(x, bottom + 14, `$${digits(most * share)}`, { anchor: "middle" }));
    }
    parts.push(text((NAMES + right) / 2, bottom + 36, "USD per thousand requests", { anchor: "middle" }));
    rows.forEach((row, index) => parts.push(...bar(row, top + step * index, step, scale, ranking.quants)));
    const title = `What a thousand requests cost, by component, ${ranking.quants.join(", ")}`;
    const description =
      `Stacked bars of ${rows.length} offers: ${used.map(words).join(", ")}. ` +
      `The dearest of them costs ${money(most)} for a thousand requests.`;
    const unknown = "Prices of disks or traffic that a provider does not publish are not in the sum.";
    const doubt = rows.some((row) => row.doubts.length > 0) ? " * from a doubtful measurement." : "";
    const caption = `${basisOf(rows, ranking, false)} ${unknown}${doubt}`;
    return figure("components", bottom + 52, title, description, caption, parts);
  }

  /** The charts of a ranking that can be drawn, in the order in which they are shown. */
  function charts(ranking) {
    return [costChart, frontChart, stackChart].map((draw) => draw(ranking)).filter((chart) => chart !== null);
  }

  sizewell.charts = { draw: charts, cost: costChart, front: frontChart, stack: stackChart };
})(window.sizewell);
