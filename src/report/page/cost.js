"use strict";
// What a request costs, by component: pure arithmetic on prices, rates and times. The formulae are those of
// docs/method/cost.md#components; each function names the Rust one that it is a port of, and tests hold the two together.
//
// An interval is [value, lo, hi]. Costs are in USD, times in seconds, prices per hour. The program computes money in
// decimals and this in doubles, which agree to about 15 digits.
window.sizewell = window.sizewell || {};

(function (sizewell) {
  /** Hours of a month: 8,760 / 12 (sizing/cost/mod.rs). */
  const HOURS_PER_MONTH = 730;
  const SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600;
  /** Bytes of a GB on a bill (sizing/cost/traffic.rs). */
  const GB = 1e9;
  /** Shares of a month's spot instances that are taken away where nothing is published (sizing/cost/spot.rs). */
  const UNKNOWN_BAND = [0.2, 0, 0.5];

  /** What money goes into, in the order in which it is shown (sizing/cost/component.rs). */
  const COMPONENTS = [
    "compute",
    "idle",
    "storage",
    "egress",
    "energy",
    "facility",
    "cold_starts",
    "interruptions",
    "failures",
  ];
  const [COMPUTE, IDLE, STORAGE, EGRESS, ENERGY, FACILITY, COLD_STARTS, INTERRUPTIONS, FAILURES] =
    COMPONENTS.keys();

  /** Hardware that is paid for the whole term, in use or not (sizing/pricing.rs). */
  const COMMITTED = new Set(["reserved_1y", "reserved_3y", "on_prem"]);

  // Intervals (sizing/interval.rs, sizing/money.rs).

  /** An interval whose ends are put in order and made to hold the value. */
  function interval(value, one, other) {
    return [value, Math.min(one, other, value), Math.max(one, other, value)];
  }

  /** Both ends and the value through an increasing function. */
  function map([value, lo, hi], f) {
    return interval(f(value), f(lo), f(hi));
  }

  /** `amount / interval`, for an interval above 0. */
  function under([value, lo, hi], amount) {
    return interval(amount / value, amount / hi, amount / lo);
  }

  /** The sum of two quantities whose errors go together. */
  function plus(a, b) {
    return [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
  }

  /** The amount times a factor of 0 or more that is known. */
  function times(cost, factor) {
    const by = Math.max(factor, 0);
    return [cost[0] * by, cost[1] * by, cost[2] * by];
  }

  function overlaps(a, b) {
    return a[1] <= b[2] && b[1] <= a[2];
  }

  /** E2E: `TTFT + TPOT x (tokens - 1)` (sizing/project.rs, Times::e2e). */
  function e2e(ttft, tpot, genTokens) {
    const steps = Math.max(genTokens - 1, 0);
    const all = map(tpot, (t) => t * steps);
    return interval(ttft[0] + all[0], ttft[1] + all[1], ttft[2] + all[2]);
  }

  // The cost of one request by component (sizing/cost/component.rs).

  /** Nothing of any component. */
  function breakdown() {
    return new Array(COMPONENTS.length).fill(null);
  }

  function add(parts, component, cost) {
    parts[component] = parts[component] ? plus(parts[component], cost) : cost;
  }

  /** The sum. Ranges add up, as their errors go together. */
  function total(parts) {
    return parts.reduce((sum, cost) => (cost ? plus(sum, cost) : sum), [0, 0, 0]);
  }

  /** Makes the cost one of successful requests, where this share of all fails: `total x f / (1 - f)` on top. */
  function withFailures(parts, share) {
    if (share > 0) add(parts, FAILURES, times(total(parts), share / (1 - share)));
    return parts;
  }

  /** Components that are not nothing, by name. */
  function named(parts) {
    const out = {};
    parts.forEach((cost, index) => {
      if (cost && (cost[0] !== 0 || cost[1] !== 0 || cost[2] !== 0)) out[COMPONENTS[index]] = cost;
    });
    return out;
  }

  // Demand: how much is asked of a service, and how many whole instances that takes (sizing/demand.rs).
  // A usage is {share} or {rates, users, thinkS, headroom, spare, autoscale}; `rates` is null where users ask.

  /** Requests a second over the day, of requests that take `e2eS`; users ask `N / (think + E2E)`. */
  function ratesOf(usage, e2eS) {
    return usage.rates || [usage.users / (usage.thinkS + e2eS)];
  }

  function mean(rates) {
    return rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  }

  /** Requests a second in the mean; null where only a share is known. */
  function meanRate(usage, e2eS) {
    return usage.share === undefined ? mean(ratesOf(usage, e2eS)) : null;
  }

  /** The same with the instances of the peak all day. */
  function allDay(usage) {
    return usage.share === undefined && usage.autoscale ? { ...usage, autoscale: false } : usage;
  }

  /** The next whole number, with a little forbearance for rounding: 3.0000000001 is 3. */
  function whole(instances) {
    return Math.max(Math.ceil(instances - 1e-9), 0);
  }

  /**
   * Whole instances of a type that sustains `rate`: `n = ceil(peak / (T x headroom)) + spare`, `u = mean / (n T)`;
   * null where the rate is not above 0 (Usage::fleet).
   */
  function fleet(usage, rate, e2eS) {
    if (!(Number.isFinite(rate) && rate > 0)) return null;
    if (usage.share !== undefined) {
      return { instances: 1, requestsPerS: usage.share * rate, utilisation: usage.share };
    }
    const rates = ratesOf(usage, e2eS);
    const average = mean(rates);
    const peak = Math.max(0, ...rates);
    const needed = (r) => whole(r / (rate * usage.headroom)) + usage.spare;
    const instances = Math.max(needed(peak), 1);
    const meanInstances = usage.autoscale ? mean(rates.map(needed)) : instances;
    const utilisation = average / (meanInstances * rate);
    if (!(meanInstances > 0 && Number.isFinite(utilisation) && utilisation > 0)) return null;
    return { instances, requestsPerS: average, utilisation: Math.min(utilisation, 1) };
  }

  // Hardware that is paid by the hour, used or not (sizing/cost/rented.rs).

  /** Hours of an instance a request: `1 / (3600 T)` busy and `(1/u - 1) / (3600 T)` idle. */
  function hours(rate, e2eS, usage) {
    const bought = fleet(usage, rate, e2eS);
    if (!bought) return null;
    const busy = 1 / (3600 * rate);
    return { busy, idle: busy * Math.max(1 / bought.utilisation - 1, 0) };
  }

  /** Hours at a rate and at both ends of its range, the longest request with the lowest rate. */
  function hoursInterval(rate, time, usage) {
    const all = [hours(rate[0], time[0], usage), hours(rate[2], time[1], usage), hours(rate[1], time[2], usage)];
    return all.includes(null) ? null : all;
  }

  /** `C = P_h / 3600 / (T u)`, compute and idle apart. */
  function rented(usdPerH, [middle, fast, slow]) {
    const parts = breakdown();
    add(parts, COMPUTE, interval(usdPerH * middle.busy, usdPerH * fast.busy, usdPerH * slow.busy));
    add(parts, IDLE, interval(usdPerH * middle.idle, usdPerH * fast.idle, usdPerH * slow.idle));
    return parts;
  }

  /** A speed on whole instances of a type; null where the rate is not above 0 (sizing/pricing.rs, Placed::new). */
  function place(speed, copies, usage) {
    const rate = map(speed.requestsPerS, (r) => r * copies);
    const time = speed.e2e;
    const bought = fleet(usage, rate[0], time[0]);
    const taken = hoursInterval(rate, time, usage);
    const fastest = fleet(usage, rate[2], time[1]);
    const slowest = fleet(usage, rate[1], time[2]);
    if (!bought || !taken || !fastest || !slowest) return null;
    const whole = allDay(usage);
    const committed =
      whole === usage ? [bought, taken] : [fleet(whole, rate[0], time[0]), hoursInterval(rate, time, whole)];
    if (!committed[0] || !committed[1]) return null;
    return { speed, rate, bought, taken, committed, demanded: [fastest.requestsPerS, slowest.requestsPerS] };
  }

  function fleetIn(placed, market) {
    return COMMITTED.has(market) ? placed.committed[0] : placed.bought;
  }

  function hoursIn(placed, market) {
    return COMMITTED.has(market) ? placed.committed[1] : placed.taken;
  }

  /** Hours of an instance a request, waiting included. */
  function hoursInAll(placed, market) {
    const [middle] = hoursIn(placed, market);
    return middle.busy + middle.idle;
  }

  // Left-over capacity that can be taken away (sizing/cost/spot.rs).

  /** Interruptions an hour where nothing is published: `-ln(1 - p) / 730`. */
  function unknownInterruptions() {
    return map(UNKNOWN_BAND, (share) => -Math.log(1 - share) / HOURS_PER_MONTH);
  }

  /**
   * What interruptions add to an hour: `P_spot r (t_warm + t_lost) + f P_od`; null where the on-demand price that
   * stands in is not known.
   */
  function surchargePerH(usdPerH, onDemand, perH, terms) {
    const lostHours = (terms.warm_s + terms.lost_s) / 3600;
    const lost = map(perH || unknownInterruptions(), (r) => usdPerH * (r * lostHours));
    if (!(terms.fallback > 0)) return lost;
    if (onDemand === null || onDemand === undefined) return null;
    const standIn = onDemand * terms.fallback;
    return plus(lost, [standIn, standIn, standIn]);
  }

  // Disks and traffic to the users (sizing/cost/traffic.rs).

  /** What an hour of `gb` of disk costs: `S p / 730`. */
  function diskPerH(gb, usdPerGbMonth) {
    return usdPerGbMonth * (gb / HOURS_PER_MONTH);
  }

  /**
   * What `gb` of traffic in a month cost by tiers [from, to, usd], each of which holds for the part of the volume
   * within it; null where the tiers do not reach so far.
   */
  function egressOfMonth(gb, tiers) {
    let sum = 0;
    let covered = 0;
    for (const [from, to, usd] of [...tiers].sort((a, b) => a[0] - b[0])) {
      const end = to === null ? Infinity : to;
      sum += usd * Math.max(Math.min(gb, end) - from, 0);
      covered = Math.max(covered, end);
    }
    return covered >= gb ? sum : null;
  }

  /** What the answer of one request costs to send, at a rate in all; without a rate it is the first tier's price. */
  function egressPerRequest(bytes, rate, tiers) {
    const requests = rate === null ? 0 : rate * SECONDS_PER_MONTH;
    if (!(requests > 0)) {
      const first = tiers.find(([from]) => from === 0);
      return first ? first[2] * (bytes / GB) : null;
    }
    const month = egressOfMonth((requests * bytes) / GB, tiers);
    return month === null ? null : month * (1 / requests);
  }

  // Instances that are paid while they work, start and wait (sizing/cost/serverless.rs).

  /** Seconds that are billed for `seconds` of work. */
  function billed(seconds, increment) {
    return increment > 0 ? Math.max(Math.ceil(seconds / increment - 1e-9), 1) * increment : seconds;
  }

  /**
   * `C = p_s (t_exec / b + P_cold t_cold + t_idle)` with requests that come at random (a Poisson process of rate `l` on
   * one worker): after one, the next comes later than the keep-warm time `k` in `e^(-l k)` of cases and finds the worker
   * cold; `(1 - e^(-l k)) / l` seconds of waiting are paid. Where that comes to more than a worker that is always up, it
   * is the latter. Workers are loaded to `headroom`, as kept instances are; `rate` null is one that is always busy. A string is what is not known.
   */
  function serverlessAt(terms, usdPerS, time, batch, rate, headroom) {
    const parts = breakdown();
    const pay = (component, seconds) => add(parts, component, seconds.map((s) => usdPerS * s));
    if (!terms) return "how it is billed is not known";
    if (rate === null) {
      pay(COMPUTE, map(time, (s) => s / batch));
      return parts;
    }
    // Workers that one needs at least, each with its share of the requests; only what overlaps can share a batch.
    const workers = Math.ceil(Math.max((rate * time[0]) / (batch * headroom), 1) - 1e-9);
    const each = rate / workers;
    const together = Math.min(Math.max(each * time[0], 1), batch);
    pay(COMPUTE, map(time, (s) => s / together));
    const busy = Math.min((each * time[0]) / together, 1);
    const always = (1 - busy) / each;
    const payAlways = () => {
      pay(IDLE, [always, always, always]);
      return parts;
    };
    if (terms.always_on) return payAlways();
    const keep = terms.keep_warm_s;
    if (keep === null) return "how long it is kept, and paid, after a request is not known";
    const gone = Math.exp(-each * keep);
    const up = time[0] + keep;
    const rounding = (billed(up, terms.increment_s) - up) * gone * (1 - busy);
    const idle = ((1 - busy) * (1 - gone)) / each + rounding;
    const starts = gone * (1 - busy);
    if (starts > 1e-6 && !terms.cold) return "how long a cold start takes is not known";
    const cold = starts > 1e-6 ? map(terms.cold, (s) => s * starts) : null;
    if (idle + (cold ? cold[0] : 0) >= always) return payAlways();
    pay(IDLE, [idle, idle, idle]);
    // However long a start may take, the worker need not be let go.
    if (cold) pay(COLD_STARTS, map(cold, (s) => Math.min(s, always - idle)));
    return parts;
  }

  /** In the mean of the day's requests: each part of the day has its own rate (sizing/pricing.rs, serverless_cost). */
  function serverless(terms, usdPerH, placed, usage) {
    const { requestsPerS, e2e: time } = placed.speed;
    const usdPerS = usdPerH * (1 / 3600);
    // Only requests that overlap share a batch, so that a step takes no longer than with the whole of it.
    const batch = Math.max(Math.round(requestsPerS[0] * time[0]), 1);
    if (usage.share !== undefined) return serverlessAt(terms, usdPerS, time, batch, null, 1);
    const rates = ratesOf(usage, time[0]);
    const sum = rates.reduce((all, rate) => all + rate, 0);
    const parts = breakdown();
    for (const rate of rates.filter((r) => r > 0)) {
      const one = serverlessAt(terms, usdPerS, time, batch, rate, usage.headroom);
      if (typeof one === "string") return one;
      one.forEach((cost, component) => cost && add(parts, component, times(cost, rate / sum)));
    }
    return parts;
  }

  // The market's terms, disks, traffic and failures on top of speed and use (sizing/pricing.rs).

  /** About what a request costs, without disks, traffic and failures: for comparing regions (Pricer::about). */
  function about(offer, placed, usage) {
    if (offer.market !== "serverless") return offer.usdPerH * hoursInAll(placed, offer.market);
    const parts = serverless(offer.terms, offer.usdPerH, placed, usage);
    return typeof parts === "string" ? Infinity : total(parts)[0];
  }

  /** Components of a request on an offer; a string is what is not known (Pricer::cost, add_interruptions, add_extras). */
  function ofOffer(offer, placed, usage, service) {
    const { market, usdPerH } = offer;
    let parts;
    if (market === "serverless") {
      parts = serverless(offer.terms, usdPerH, placed, usage);
      if (typeof parts === "string") return parts;
    } else {
      parts = rented(usdPerH, hoursIn(placed, market));
    }
    const taken = hoursInAll(placed, market);
    if (market === "spot") {
      const extra = surchargePerH(usdPerH, offer.fallbackUsd, offer.interruptions, service.spot);
      if (!extra) return "what stands in for it has no on-demand price in the region";
      add(parts, INTERRUPTIONS, times(extra, taken));
    }
    // Serverless images are kept by the provider; disks that come with an instance are in its price.
    if (offer.disk !== null && market !== "serverless" && !service.hasDisk) {
      const disk = diskPerH(service.diskGb, offer.disk) * taken;
      add(parts, STORAGE, [disk, disk, disk]);
    }
    const sent = egressPerRequest(service.answerBytes, meanRate(usage, placed.speed.e2e[0]), offer.egress);
    if (sent !== null) add(parts, EGRESS, [sent, sent, sent]);
    return withFailures(parts, service.failureShare);
  }

  /** At a price that the user gave (Pricer::at). */
  function atPrice(usdPerH, placed, service) {
    return withFailures(rented(usdPerH, hoursIn(placed, null)), service.failureShare);
  }

  /**
   * Hardware of one's own: capital, energy and rooms while it works; waiting takes capital, rooms and the idle power
   * with it (sizing/cost/own.rs, OwnHour::cost; Pricer::own).
   */
  function ofOwn(hour, placed, service) {
    const [middle, fast, slow] = hoursIn(placed, "on_prem");
    const parts = breakdown();
    const pay = (component, usd, part) =>
      add(parts, component, interval(usd * middle[part], usd * fast[part], usd * slow[part]));
    pay(COMPUTE, hour.capital, "busy");
    pay(ENERGY, hour.activeEnergy, "busy");
    pay(FACILITY, hour.facility, "busy");
    pay(IDLE, hour.capital + hour.idleEnergy + hour.facility, "idle");
    return withFailures(parts, service.failureShare);
  }

  /** A month of the demand, each end of the cost with the requests that succeed there (sizing/figures.rs, month). */
  function month(request, placed, success) {
    const of = (cost, rate) => cost * (success * rate * HOURS_PER_MONTH * 3600);
    const [fastest, slowest] = placed.demanded;
    return interval(
      of(request[0], placed.bought.requestsPerS),
      of(request[1], fastest),
      of(request[2], slowest),
    );
  }

  sizewell.cost = {
    COMPONENTS,
    HOURS_PER_MONTH,
    interval,
    map,
    under,
    plus,
    times,
    overlaps,
    e2e,
    total,
    named,
    fleet,
    place,
    fleetIn,
    about,
    ofOffer,
    atPrice,
    ofOwn,
    month,
    egressOfMonth,
    egressPerRequest,
    serverlessAt,
    surchargePerH,
  };
})(window.sizewell);
