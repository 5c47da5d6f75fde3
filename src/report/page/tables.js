"use strict";
// Tables: how their figures are written (a port of units.rs and report/content/ranking.rs), the table of a ranking, and
// for every table of the page sorting by a click on a head and a box that filters its rows.
(function (sizewell) {
  const DASH = "-";
  /** Tables of more rows than this have a filter box. */
  const FILTERED_FROM = 9;

  // Figures as the program writes them.

  /** As Rust writes a float: a number that lies just between two goes to the even one, where toFixed goes up. */
  function fixed(value, places) {
    const more = 25;
    const exact = value.toFixed(places + more);
    const lower = exact.slice(0, -more).replace(/\.$/, "");
    const between = exact.endsWith(`5${"0".repeat(more - 1)}`);
    return between && Number(lower.slice(-1)) % 2 === 0 ? lower : value.toFixed(places);
  }

  /** A number at three significant digits without an exponent: 0.0123, 12.3, 12300 (units.rs, digits). */
  function digits(value) {
    if (!Number.isFinite(value)) return String(value);
    if (value === 0) return "0";
    const places = (v) => Math.min(Math.max(2 - Math.floor(Math.log10(Math.abs(v))), 0), 9);
    const text = fixed(value, places(value));
    // 9.996 is 10.00 at two places: once more at the magnitude that rounding reached.
    return fixed(value, places(Number(text) || value));
  }

  /** Halves to the even digit, as the program's decimals are rounded. */
  function rounded(value, places) {
    const scaled = value * 10 ** places;
    const half = Math.abs(scaled - Math.trunc(scaled)) - 0.5;
    const even = Math.abs(half) <= 1e-9 * Math.max(Math.abs(scaled), 1) && Math.abs(scaled) < 1e15;
    return even ? ((2 * Math.round(scaled / 2)) / 10 ** places).toFixed(places) : value.toFixed(places);
  }

  /** Dollars with two places, and more where it takes them to show three digits of a small amount. */
  function money(usd) {
    let places = 2;
    for (let least = 1; places < 10 && usd !== 0 && Math.abs(usd) < least; least /= 10) places += 1;
    return `$${rounded(usd, places)}`;
  }

  function seconds(value) {
    const units = [[1, "s"], [1e-3, "ms"], [1e-6, "us"], [1e-9, "ns"]];
    const [size, unit] = value === 0 ? units[0] : units.find(([s]) => Math.abs(value) >= s) || units[3];
    return `${digits(value / size)} ${unit}`;
  }

  const percent = (share) => `${digits(share * 100)} %`;
  const perSecond = (rate) => `${digits(rate)} req/s`;
  const words = (name) => name.replaceAll("_", " ");
  /** A mean number of tokens: whole where it is. */
  const tokens = (mean) => (Number.isInteger(mean) ? String(mean) : mean.toFixed(1));

  /** The name and place of a row; + where its price is of the card alone. */
  function offerName(row) {
    const region = row.region ? ` ${row.region}` : "";
    const market = row.market && row.market !== "on_demand" ? ` ${row.market}` : "";
    return `${row.provider}:${row.instance_type}${region}${market}${row.incomplete ? " +" : ""}`;
  }

  /** How much of the paid time is used, in words. */
  function usage(used) {
    const { share, rates, users, thinkS, headroom, spare, autoscale } = used;
    if (share !== undefined) return share >= 1 ? "busy all the time" : `busy ${percent(share)} of the time`;
    let load = `${users} users who think for ${seconds(thinkS)}`;
    if (rates) {
      const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
      const peak = Math.max(...rates);
      load = peak > mean * 1.000001 ? `${perSecond(peak)} at the peak, ${perSecond(mean)} in the mean` : perSecond(mean);
    }
    const more = `${spare > 0 ? `, ${spare} spare` : ""}${autoscale ? ", as many as the hour needs" : ""}`;
    return `${load}, loaded to ${percent(headroom)} at most${more}`;
  }

  /** The least and the greatest age of the prices in days; empty where none is known. */
  function ages(rows) {
    const days = rows.map((row) => row.price_age_days).filter((age) => age !== null);
    if (days.length === 0) return "";
    const [least, most] = [Math.min(...days), Math.max(...days)];
    return least === most ? String(least) : `${least} to ${most}`;
  }

  // The table of a ranking.

  function place({ rows }, index) {
    const row = rows[index];
    if (!row.usd_per_request) return DASH;
    const tied = (row.tied_with_first || index === 0) && rows.some((other) => other.tied_with_first);
    return tied ? "1=" : String(index + 1);
  }

  function basis(row) {
    return `${row.basis}${row.tier ? ` ${row.tier}` : ""}${row.doubts.length > 0 ? "*" : ""}`;
  }

  function age(row) {
    if (row.price_age_days === null) return row.dated ? `unknown${row.stale ? " !" : ""}` : DASH;
    return `${row.price_age_days} d${row.stale ? " !" : ""}`;
  }

  /** A cell of a number: its words, and the value that it is sorted by. Of an interval it is the middle. */
  const number = (write) => (row, name) => {
    const value = Array.isArray(row[name]) ? row[name][0] : row[name];
    return value === null || value === undefined ? [DASH, ""] : [write(value), value];
  };
  const range = ([, lo, hi]) => `${money(lo)} - ${money(hi)}`;
  /** What a row has in a column of each format (report/columns.rs): text, or text with the value that it is sorted by. */
  const FORMATS = {
    text: (row, name) => [row[name]],
    count: number(String),
    usd: number(money),
    usd_per_h: number((usd) => money(usd).slice(1)),
    seconds: number(seconds),
    share: number(percent),
    per_second: number(perSecond),
    place: (row, name, ranking, index) => [place(ranking, index), row.usd_per_request ? index + 1 : ""],
    offer: (row) => [row.on_front ? `${offerName(row)} ^` : offerName(row)],
    basis: (row) => [basis(row)],
    range: (row) => (row.usd_per_million_tokens ? [range(row.usd_per_million_tokens)] : [DASH, ""]),
    age: (row) => [age(row), row.price_age_days === null ? "" : row.price_age_days],
  };

  /** An HTML element with its properties and children, which are elements or text. */
  function element(name, properties, ...children) {
    const out = Object.assign(document.createElement(name), properties);
    out.append(...children);
    return out;
  }

  /** Puts rows of a ranking, each with its place, into a table. */
  function fill(table, ranking, shown) {
    const columns = sizewell.columns.filter(({ demand }) => !demand || ranking.usage.share === undefined);
    const heads = columns.map(({ title, right }) =>
      element("th", { scope: "col", className: right ? "r" : "" }, title),
    );
    const body = shown.map(({ row, index }) => {
      const cells = columns.map(({ name, format }) => FORMATS[format](row, name, ranking, index));
      return element(
        "tr",
        {},
        ...cells.map(([words, value], at) => {
          const cell = element("td", { className: heads[at].className }, words);
          if (value !== undefined) cell.dataset.v = value;
          return cell;
        }),
      );
    });
    table.replaceChildren(
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...body),
    );
    refresh(table);
  }

  /** What to know when reading the table of a ranking (report/content/ranking.rs, ranking_notes). */
  function notes(ranking, shown) {
    const { rows } = ranking;
    const some = (test) => rows.some(test);
    const doubts = [...new Set(shown.flatMap(({ row }) => row.doubts))].sort();
    const remarks = [...new Set(shown.map(({ row }) => row.remark).filter(Boolean))];
    const why = rows.find((row) => row.why_no_cost);
    const stale = rows.filter((row) => row.stale).length;
    const old = ages(rows);
    return [
      some((row) => row.tied_with_first) && "1= cannot be told from the first: the intervals overlap",
      doubts.length > 0 && `* doubtful: ${doubts.join("; ")}`,
      some((row) => row.tier) &&
        "letters behind projected: I this card on another host, S at other sizes, X another card of about its " +
          "generation, F none so near with this engine",
      why && `this machine: ${why.why_no_cost}`,
      some((row) => row.on_front) && "^ no cheaper row is faster to the last token: the front of cost against latency",
      old && `prices are ${old} days old (${sizewell.model.catalog_origin} catalog)`,
      stale > 0 && `! ${stale} prices are older than 30 days (spot: 1) or of unknown age`,
      shown.some(({ row }) => row.incomplete) &&
        "+ the price is of the card alone: its CPU and memory are billed apart and are not in it",
      ...remarks,
    ].filter(Boolean);
  }

  // Sorting and filtering.

  /** What a unit is in the smallest of its kind, as the program writes them. */
  const UNITS = {
    ns: 1e-9, us: 1e-6, "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: 1,
    B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12,
    "MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12, "MOP/s": 1e6, "GOP/s": 1e9, "TOP/s": 1e12,
    mJ: 1e-3, J: 1, kJ: 1e3, mW: 1e-3, W: 1, kW: 1e3, "mJ/tok": 1e-3, "J/tok": 1,
    "%": 1, "tok/s": 1, "req/s": 1, "tok/J": 1, GHz: 1e9, MHz: 1e6, g: 1, kg: 1e3,
  };
  const NUMBER = /^[±~<>≤≥x×$\s]*(-?\$?\d[\d,]*\.?\d*(?:e[-+]?\d+)?)\s*([%a-zµ][\w/%]*)?(.*)$/i;
  /** What may follow a number: a margin, the other end of a range, a mark, a remark. */
  const FOLLOWS = /^\s*([±=*!+].*|[-–]\s.*|\(.*\))?$/;

  /** The value of a cell: a number where it has one; null for a dash; else its text. */
  function valueOf(cell) {
    if (!cell) return null;
    const given = cell.dataset.v;
    const words = cell.textContent.trim();
    if (given !== undefined) return given === "" ? null : Number.isNaN(Number(given)) ? given : Number(given);
    if (words === "" || words === DASH || words === "–" || words === "—") return null;
    const [, number, unit, rest] = NUMBER.exec(words) || [];
    if (number === undefined || !FOLLOWS.test(rest) || (unit && !Object.hasOwn(UNITS, unit))) return words;
    return Number(number.replace(/[$,]/g, "")) * (unit ? UNITS[unit] : 1);
  }

  const collator = new Intl.Collator("en", { numeric: true });

  /** Rows by a column, dashes last in both directions; numbers by value where most cells are numbers. */
  function sorted(rows, column, direction) {
    const keyed = rows.map((row) => ({ row, value: valueOf(row.cells[column]), words: row.cells[column]?.textContent || "" }));
    const real = keyed.filter(({ value }) => value !== null);
    const numeric = real.filter(({ value }) => typeof value === "number").length >= 0.8 * real.length;
    const rankOf = (value) => (value === null ? 2 : numeric && typeof value !== "number" ? 1 : 0);
    keyed.sort((a, b) => {
      const [ra, rb] = [rankOf(a.value), rankOf(b.value)];
      if (ra !== rb || ra === 2) return ra - rb;
      return direction * (numeric && ra === 0 ? a.value - b.value : collator.compare(a.words, b.words));
    });
    return keyed.map(({ row }) => row);
  }

  /** What the reader did to each table; a table that is filled anew keeps it. */
  const states = new WeakMap();

  const heads = (table) => [...table.tHead.rows[0].cells];

  function has(row, parts) {
    const words = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
    return parts.every((part) => words.includes(part));
  }

  /** Up, down, and as it was. */
  function turn(table, head) {
    const state = states.get(table);
    const title = head.textContent;
    const same = state.sort && state.sort.title === title;
    if (!same) state.sort = { title, direction: 1 };
    else state.sort = state.sort.direction === 1 ? { title, direction: -1 } : null;
    apply(table);
  }

  function apply(table) {
    const { sort, query, order, box, count } = states.get(table);
    const all = heads(table);
    const column = sort ? all.findIndex((head) => head.textContent === sort.title) : -1;
    all.forEach((head, index) => {
      const name = sort && sort.direction === 1 ? "ascending" : "descending";
      head.setAttribute("aria-sort", index === column ? name : "none");
    });
    table.tBodies[0].append(...(column < 0 ? order : sorted(order, column, sort.direction)));
    const parts = query.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of order) {
      row.hidden = parts.length > 0 && !has(row, parts);
      left += row.hidden ? 0 : 1;
    }
    count.textContent = `${left} of ${order.length} rows`;
    box.hidden = order.length < FILTERED_FROM && query === "";
  }

  /** A filled table is put into the order and cut to the rows that the reader asked for before. */
  function refresh(table) {
    const state = states.get(table);
    if (!state) return;
    for (const head of heads(table)) {
      if (head.querySelector("button.sort")) continue;
      const button = element("button", { type: "button", className: "sort" }, ...head.childNodes);
      head.append(button);
    }
    state.order = [...table.tBodies[0].rows];
    apply(table);
  }

  /** Makes a table sortable, with a filter box above it. */
  function enhance(table, title) {
    if (states.has(table)) return;
    const input = element("input", { type: "search", autocomplete: "off", spellcheck: false });
    input.setAttribute("aria-label", `Filter rows of the table: ${title}`);
    const count = element("span", { className: "count" });
    count.setAttribute("role", "status");
    const box = element("div", { className: "filter" }, element("label", {}, "Filter rows ", input), " ", count);
    const state = { sort: null, query: "", order: [], box, count };
    states.set(table, state);
    (table.closest(".scroll") || table).before(box);
    input.addEventListener("input", () => {
      state.query = input.value;
      apply(table);
    });
    // A head holds a button, so that Enter and the space bar come as clicks too.
    table.addEventListener("click", (event) => {
      const head = event.target.closest("thead th");
      if (head) turn(table, head);
    });
    if (table.tHead && table.tBodies.length > 0) refresh(table);
  }

  /** The heading that stands above an element; of the data of a plot, its title. */
  function titleOf(scroll) {
    for (let at = scroll.previousElementSibling; at; at = at.previousElementSibling) {
      if (/^H[1-6]$/.test(at.tagName)) return at.textContent;
    }
    const title = scroll.closest("figure")?.querySelector("svg > title") || scroll.closest("section")?.querySelector("h2");
    return title ? title.textContent : "";
  }

  for (const scroll of document.querySelectorAll(".scroll")) {
    for (const table of scroll.querySelectorAll("table")) {
      if (table.tHead && table.tHead.rows.length === 1 && table.tBodies.length === 1) enhance(table, titleOf(scroll));
    }
  }

  sizewell.element = element;
  sizewell.format = { digits, money, seconds, percent, perSecond, words, tokens, offerName, usage, ages };
  sizewell.tables = { fill, notes, enhance, valueOf };
})(window.sizewell);
