// The rankings of the page against those of the program, over a grid of settings.
import assert from "node:assert/strict";

/** Relative error up to which figures are the same: the program computes money in decimals, the page in doubles. */
const NEAR = 1e-9;

function near(a, b) {
  return a === b || Math.abs(a - b) <= NEAR * Math.max(Math.abs(a), Math.abs(b));
}

/** Settings of the page, and the options of `sizewell rank` that ask for the same. */
function grid(model, own, committed) {
  const { quants, markets, regions, providers } = model;
  const together = (list) => markets.filter((market) => list.includes(market) || committed.includes(market));
  const levels = [[quants[0]], ...quants.slice(1).map((quant) => [quant]), quants];
  const has = (market) => markets.includes(market);
  const bought = [["on_demand"], ["spot"], ["serverless"], ["on_demand", "spot"], markets].filter((list) => list.every(has));
  const used = new Map();
  for (const [, region] of model.offers) used.set(regions[region], (used.get(regions[region]) || 0) + 1);
  const common = [...used].filter(([name]) => name !== "any").sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const named = (name) => providers.includes(name);
  const sellers = ["aws", "runpod", "azure", "modal"].filter(named).concat(providers.filter((p) => p !== "this machine"));
  const limits = [
    {},
    { e2e: 0.5 },
    { ttft: 0.1 },
    { tpot: 0.005 },
    { ttft: 0.25, tpot: 0.02, e2e: 1.5 },
    { e2e: 0.05 },
    { tpot: 0.0005 },
  ];
  // Users, and rates over the day, are asked for by the options that the report was made with.
  const given = { rates: own.rates, users: own.users };
  const loads = isGiven(own) ? [given] : [
    { share: 1 },
    { share: 0.4 },
    { rates: [20] },
    { rates: [300], headroom: 0.5, spare: 1 },
    { rates: [0.01], headroom: 0.9 },
    { rates: [2500], headroom: 1, spare: 2 },
  ];
  const some = (list, at) => list[at % list.length];
  const out = [];
  const ask = (change) => {
    const settings = { ...own, rates: null, users: null, share: 1, ...change };
    out.push({ ...settings, markets: together(settings.markets) });
  };
  // Each market with each load, the levels and limits going round.
  bought.forEach((list, i) =>
    loads.forEach((load, j) => ask({ quants: some(levels, i + j), markets: list, ...some(limits, i + 2 * j), ...load })),
  );
  // Each limit with each level.
  limits.forEach((limit, i) =>
    levels.forEach((level, j) => ask({ quants: level, markets: some(bought, i + j), ...limit, ...some(loads, 2 * i + j) })),
  );
  // Regions and providers, one by one and together.
  common.slice(0, 5).forEach((region, i) => ask({ region, markets: some(bought, 3 + i), ...some(loads, i) }));
  sellers.slice(0, 6).forEach((provider, i) => ask({ provider, markets: markets, quants: some(levels, i), ...some(loads, i) }));
  if (named("aws")) {
    common.slice(0, 3).forEach((region, i) => ask({ region, provider: "aws", markets: some(bought, i + 3), ...some(loads, 2 + i) }));
  }
  for (const only of ["measured", "projected"]) {
    loads.slice(0, 3).forEach((load) => ask({ only, quants, markets, ...load }));
  }
  return out;
}

/** Whether the load is none that the settings say by themselves. */
function isGiven({ rates, users }) {
  return users !== null || (rates !== null && rates.length > 1);
}

function flags(settings, disk) {
  const out = ["--quant", settings.quants.join(","), "--market", settings.markets.join(",")];
  const slo = ["ttft", "tpot", "e2e"].filter((name) => settings[name] !== null).map((name) => `${name}=${settings[name] * 1e3}ms`);
  if (slo.length > 0) out.push("--slo", slo.join(","));
  for (const name of ["region", "provider", "only"]) {
    if (settings[name] !== null) out.push(`--${name}`, [settings[name]].flat().join(","));
  }
  if (isGiven(settings)) {
    // As the report was made.
  } else if (settings.rates) {
    out.push("--rps", String(settings.rates[0]), "--headroom", String(settings.headroom), "--spare", String(settings.spare));
  } else {
    out.push("--utilisation", String(settings.share));
  }
  if (disk !== null) out.push("--disk", String(disk));
  return out;
}

const nameOf = (row) => [row.provider, row.instance_type, row.region, row.market, row.quant].join(" ");

/** Whether an interval overlaps the first one by so little, or misses it by so little, that rounding decides. */
function onTheEdge(row, first) {
  const of = (cost) => [Number(cost.lo), Number(cost.hi)];
  const [lo, hi] = of(row.usd_per_request);
  const [least, most] = of(first.usd_per_request);
  return near(lo, most) || near(hi, least);
}

/** Rows in the order of the program, but for rows of the same cost, which stand in any. */
function paired(ours, theirs) {
  const value = (row) => (row.usd_per_request ? Number(row.usd_per_request.value) : Infinity);
  const pairs = [];
  for (let start = 0; start < theirs.length; ) {
    let end = start + 1;
    while (end < theirs.length && near(value(theirs[end]), value(theirs[end - 1]))) end += 1;
    const tied = ours.slice(start, end);
    for (const row of theirs.slice(start, end)) {
      const at = tied.findIndex((own) => nameOf(own) === nameOf(row));
      assert.ok(at >= 0, `place ${start + 1}: ${nameOf(row)} of the program is ${tied.map(nameOf).join(" or ")} on the page`);
      pairs.push({ own: tied[at], row, alone: end === start + 1 });
    }
    start = end;
  }
  return pairs;
}

function compareCost(what, own, theirs) {
  if (theirs === null || theirs === undefined) return assert.equal(own ?? null, null, what);
  assert.ok(own, `${what}: the page has none`);
  ["value", "lo", "hi"].forEach((end, at) => {
    assert.ok(near(own[at], Number(theirs[end])), `${what} ${end}: ${own[at]} on the page, ${theirs[end]} of the program`);
  });
}

const COSTS = ["usd_per_request", "usd_per_thousand_requests", "usd_per_million_tokens", "usd_per_month"];
const TIMES = ["ttft_s", "tpot_s", "e2e_s", "requests_per_s"];

/** Sentences whose numbers are the same up to the last digit, where a figure lies between two of them. */
export function sameSentences(ours, theirs) {
  const number = /\$?\d+\.\d+/g;
  const bare = (lines) => lines.map((line) => line.replace(number, "#"));
  const numbers = (lines) => lines.join(" ").match(number)?.map((text) => Number(text.replace("$", ""))) || [];
  assert.deepEqual(bare(ours), bare(theirs));
  const others = numbers(theirs);
  numbers(ours).forEach((value, at) => assert.ok(Math.abs(value - others[at]) <= 0.011 * others[at], `${ours} is ${theirs}`));
}

function compareRow({ own, row, alone }, first, firstIsSame) {
  const name = nameOf(row);
  for (const key of ["batch", "basis", "hardware", "stale"]) assert.equal(own[key], row[key], `${name}: ${key}`);
  assert.equal(own.tier ?? null, row.ground ? row.ground.tier : null, `${name}: tier`);
  assert.deepEqual(own.doubts, row.doubts, `${name}: doubts`);
  assert.equal(own.instances, row.fleet ? row.fleet.instances : null, `${name}: instances`);
  if (row.fleet) assert.ok(near(own.utilisation, row.fleet.utilisation), `${name}: utilisation`);
  assert.ok(near(own.usd_per_h ?? 0, Number(row.usd_per_h ?? 0)), `${name}: $/h ${own.usd_per_h}, ${row.usd_per_h}`);
  for (const key of TIMES) compareCost(`${name}: ${key}`, own[key], row[key]);
  for (const key of COSTS) compareCost(`${name}: ${key}`, own[key], row[key]);
  assert.deepEqual(Object.keys(own.components || {}), Object.keys(row.components || {}), `${name}: components`);
  for (const [component, cost] of Object.entries(row.components || {})) {
    // Idle time is a difference of nearly equal numbers at full use: it is as exact as the sum is.
    const ends = ["value", "lo", "hi"];
    ends.forEach((end, at) => {
      const off = Math.abs(own.components[component][at] - Number(cost[end]));
      assert.ok(off <= NEAR * Number(row.usd_per_request[end]), `${name}: ${component} ${end}: ${own.components[component][at]}, ${cost[end]}`);
    });
  }
  if (firstIsSame && row.usd_per_request && !onTheEdge(row, first)) {
    assert.equal(own.tied_togetherfirst, row.tied_togetherfirst, `${name}: tied_togetherfirst`);
  }
  // Among rows of the same cost the order decides who is on the front.
  if (alone) assert.equal(own.on_front, row.on_front, `${name}: on_front`);
}

/** Compares every ranking; says how many settings and rows that were. */
export async function rankings(page, program, committed) {
  const model = await page.evaluate(() => {
    const { providers, regions, quants, offers, service, shapes } = window.sizewell.model;
    const markets = window.sizewell.model.markets;
    const place = (offer) => [offer.shape, regions.indexOf(offer.region)];
    const sold = [...new Set(offers.map((offer) => shapes[offer.shape].provider))];
    return { providers: providers.filter((name) => sold.includes(name)), regions, quants, markets, service, offers: offers.map(place) };
  });
  const own = await page.evaluate(() => window.sizewell.settings());
  // A page with one disk for all levels is compared at that disk.
  const disk = Array.isArray(model.service.disk_gb) ? null : model.service.disk_gb;
  const wrong = [];
  let [rows, headlines] = [0, 0];
  const asked = grid(model, own, committed);
  assert.ok(asked.length >= (isGiven(own) ? 40 : 60), `${asked.length} settings`);
  for (const settings of asked) {
    const options = flags(settings, disk);
    try {
      const theirs = await program(options);
      const ours = await page.evaluate((given) => window.sizewell.rank(given), settings);
      assert.equal(ours.rows.length, theirs.rows.length, `rows: ${missing(ours.rows, theirs.rows)}`);
      const pairs = paired(ours.rows, theirs.rows);
      const first = theirs.rows[0];
      // Where several cost the same, rounding decides which stands first, and what overlaps it.
      const firstIsSame = first !== undefined && nameOf(first) === nameOf(ours.rows[0]);
      for (const pair of pairs) compareRow(pair, first, firstIsSame);
      if (firstIsSame && pairs.find(({ row }) => row.basis === "projected")?.alone !== false) {
        // How many overlap the first is decided by rounding too, where one just does.
        const edge = theirs.rows.some((row) => row !== first && row.usd_per_request && onTheEdge(row, first));
        const plain = (lines) => (edge ? lines.map((line) => line.replace(/\d+ others cannot/, "others cannot")) : lines);
        sameSentences(plain(ours.headline), plain(theirs.headline));
        headlines += 1;
      }
      rows += pairs.length;
    } catch (error) {
      wrong.push(`${options.join(" ")}\n      ${error.stderr || error.message}`);
    }
  }
  assert.equal(wrong.length, 0, `${wrong.length} of ${asked.length} settings differ:\n   ${wrong.slice(0, 8).join("\n   ")}`);
  return `${asked.length} settings, ${rows} rows, ${headlines} headlines${disk === null ? "" : `, at --disk ${disk}`}`;
}

/** Names that only one of the two has. */
function missing(ours, theirs) {
  const [a, b] = [new Set(ours.map(nameOf)), new Set(theirs.map(nameOf))];
  const only = (one, other) => [...one].filter((name) => !other.has(name)).slice(0, 3).join(", ") || "none";
  return `${ours.length} on the page (only there: ${only(a, b)}), ${theirs.length} of the program (only there: ${only(b, a)})`;
}
