"use strict";
// What a request costs, by component: which price is paid for how much of what. The script knows no formula: how long, how
// many and how often is computed by `sizewell.formulas`, which the program writes from its own (sizing/formulas.rs), and
// what an hour costs beside its price comes with the data. Tests hold the sums to those of `rank`.
//
// An interval is [value, lo, hi]. Costs are in USD, times in seconds, prices per hour. The program computes money in
// decimals and this in doubles, which agree to about 15 digits.
(function (sizewell) {
  const { formulas } = sizewell;
  /** What money goes into, in the order in which it is shown: the program's table of components. */
  const COMPONENTS = sizewell.components.map(({ name }) => name);
  const [COMPUTE, IDLE, EGRESS, COLD_STARTS, FAILURES] = ["compute", "idle", "egress", "cold_starts", "failures"].map(
    (name) => COMPONENTS.indexOf(name),
  );

  /** Hardware that is paid for the whole term, in use or not (sizing/price/pricing.rs). */
  const COMMITTED = new Set(["reserved_1y", "reserved_3y", "on_prem"]);

  // Intervals (units/interval.rs).

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

  /** To the last token. */
  function e2e(ttft, tpot, genTokens) {
    const at = (end) => formulas.e2e(ttft[end], tpot[end], genTokens);
    return interval(at(0), at(1), at(2));
  }

  // The cost of one request by component (sizing/price/cost/component.rs).

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

  /** Makes the cost one of successful requests, where this share of all fails. */
  function withFailures(parts, share) {
    if (share > 0) add(parts, FAILURES, times(total(parts), formulas.failed_per_success(share)));
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

  // Demand: how much is asked of a service, and how many whole instances that takes (sizing/price/demand.rs).
  // A usage is {share} or {rates, users, thinkS, headroom, spare, autoscale}; `rates` is null where users ask.

  /** Requests a second over the day, of requests that take `e2eS`. */
  function ratesOf(usage, e2eS) {
    return usage.rates || [formulas.rate_of_users(usage.users, usage.thinkS, e2eS)];
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

  /** Whole instances of a type that sustains `rate`, and their use; null where the rate is not above 0 (Usage::fleet). */
  function fleet(usage, rate, e2eS) {
    if (!(Number.isFinite(rate) && rate > 0)) return null;
    if (usage.share !== undefined) {
      return { instances: 1, requestsPerS: usage.share * rate, utilisation: usage.share };
    }
    const rates = ratesOf(usage, e2eS);
    const average = mean(rates);
    const needed = (r) => formulas.instances_for(r, rate, usage.headroom, usage.spare);
    const instances = Math.max(needed(Math.max(0, ...rates)), 1);
    const meanInstances = usage.autoscale ? mean(rates.map(needed)) : instances;
    const utilisation = formulas.utilisation(average, meanInstances, rate);
    if (!(meanInstances > 0 && Number.isFinite(utilisation) && utilisation > 0)) return null;
    return { instances, requestsPerS: average, utilisation: Math.min(utilisation, 1) };
  }

  // Hardware that is paid by the hour, used or not (sizing/price/cost/rented.rs).

  /** Hours of an instance a request, busy and idle. */
  function hours(rate, e2eS, usage) {
    const bought = fleet(usage, rate, e2eS);
    return bought && formulas.hours(rate, bought.utilisation);
  }

  /** Hours at a rate and at both ends of its range, the longest request with the lowest rate. */
  function hoursInterval(rate, time, usage) {
    const all = [hours(rate[0], time[0], usage), hours(rate[2], time[1], usage), hours(rate[1], time[2], usage)];
    return all.includes(null) ? null : all;
  }

  /** What hours cost: the prices by component of one that works, and of one that waits. */
  function hourly(prices, [middle, fast, slow]) {
    const parts = breakdown();
    prices.forEach((some, part) =>
      some.forEach(([component, usd]) =>
        add(parts, component, interval(usd * middle[part], usd * fast[part], usd * slow[part])),
      ),
    );
    return parts;
  }

  /** An hour of rented hardware costs the same, whether it works or waits. */
  function rented(usdPerH, hours) {
    return hourly([[[COMPUTE, usdPerH]], [[IDLE, usdPerH]]], hours);
  }

  /** A speed on whole instances of a type; null where the rate is not above 0 (sizing/price/pricing.rs, Placed::new). */
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
    const [[busy, idle]] = hoursIn(placed, market);
    return busy + idle;
  }

  // Traffic to the users (sizing/price/cost/traffic.rs).

  /** What the answers of a month cost by tiers [from, to, usd]; null where the tiers do not reach so far. */
  function egressOfMonth(gb, tiers) {
    const all = tiers.map(([from, to, usd]) => [from, to === null ? Infinity : to, usd]).sort((a, b) => a[0] - b[0]);
    const reached = Math.max(0, ...all.map(([, to]) => to));
    return reached >= gb ? all.reduce((sum, [from, to, usd]) => sum + usd * formulas.gb_in_tier(gb, from, to), 0) : null;
  }

  /** What the answer of one request costs to send, at a rate in all; without a rate it is the first tier's price. */
  function egressPerRequest(bytes, rate, tiers) {
    const requests = rate === null ? 0 : rate * formulas.SECONDS_PER_MONTH;
    if (!(requests > 0)) {
      const first = tiers.find(([from]) => from === 0);
      return first ? first[2] * (bytes / formulas.BYTES_PER_GB) : null;
    }
    const month = egressOfMonth(formulas.gb_of_month(rate, bytes), tiers);
    return month === null ? null : month / requests;
  }

  // Instances that are paid while they work, start and wait (sizing/price/cost/serverless.rs).

  /** At one rate; null for the rate is a worker that is always busy. A string is what is not known. */
  function serverlessAt(terms, usdPerS, time, batch, rate, headroom) {
    const parts = breakdown();
    const pay = (component, seconds) => add(parts, component, seconds.map((s) => usdPerS * s));
    if (!terms) return "how it is billed is not known";
    if (rate === null) {
      pay(COMPUTE, map(time, (s) => s / batch));
      return parts;
    }
    const [each, together, busy, always] = formulas.worker(rate, time[0], batch, headroom);
    pay(COMPUTE, map(time, (s) => s / together));
    const payAlways = () => {
      pay(IDLE, [always, always, always]);
      return parts;
    };
    if (terms.always_on) return payAlways();
    if (terms.keep_warm_s === null) return "how long it is kept, and paid, after a request is not known";
    const [idle, starts] = formulas.kept_warm(each, time[0], busy, terms.keep_warm_s, terms.increment_s);
    if (starts > 0 && !terms.cold) return "how long a cold start takes is not known";
    const cold = starts > 0 ? map(terms.cold, (s) => s * starts) : null;
    if (idle + (cold ? cold[0] : 0) >= always) return payAlways();
    pay(IDLE, [idle, idle, idle]);
    // However long a start may take, the worker need not be let go.
    if (cold) pay(COLD_STARTS, map(cold, (s) => Math.min(s, always - idle)));
    return parts;
  }

  /** In the mean of the day's requests: each part of the day has its own rate (sizing/price/pricing.rs, serverless_cost). */
  function serverless(terms, usdPerH, placed, usage) {
    const { requestsPerS, e2e: time } = placed.speed;
    const usdPerS = usdPerH * (1 / 3600);
    const batch = formulas.in_flight(requestsPerS[0], time[0]);
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

  // The market's terms, disks, traffic and failures on top of speed and use (sizing/price/pricing.rs).

  /** About what a request costs, without disks, traffic and failures: for comparing regions (Pricer::about). */
  function about(offer, placed, usage) {
    if (offer.market !== "serverless") return offer.usdPerH * hoursInAll(placed, offer.market);
    const parts = serverless(offer.terms, offer.usdPerH, placed, usage);
    return typeof parts === "string" ? Infinity : total(parts)[0];
  }

  /** Components of a request on an offer, at the costs of the first level that is ranked; a string is what is not known. */
  function ofOffer(offer, placed, usage, service) {
    const { market, usdPerH, hourly: beside } = offer;
    const parts =
      market === "serverless"
        ? serverless(offer.terms, usdPerH, placed, usage)
        : rented(usdPerH, hoursIn(placed, market));
    if (typeof parts === "string") return parts;
    if (typeof beside === "string") return beside;
    for (const [component, levels] of beside) {
      add(parts, component, times(levels[service.level] || levels[0], hoursInAll(placed, market)));
    }
    const sent = egressPerRequest(service.answerBytes, meanRate(usage, placed.speed.e2e[0]), offer.egress);
    if (sent !== null) add(parts, EGRESS, [sent, sent, sent]);
    return withFailures(parts, service.failureShare);
  }

  /** At a price that the user gave (Pricer::at). */
  function atPrice(usdPerH, placed, service) {
    return withFailures(rented(usdPerH, hoursIn(placed, null)), service.failureShare);
  }

  /** Hardware of one's own, by what an hour of it costs while it works and while it waits (Pricer::own). */
  function ofOwn(prices, placed, service) {
    return withFailures(hourly(prices, hoursIn(placed, "on_prem")), service.failureShare);
  }

  /** A month of the demand, each end of the cost with the requests that succeed there (sizing/rank/row.rs, month). */
  function month(request, placed, success) {
    const of = (cost, rate) => cost * formulas.successes_of_month(success, rate);
    const [fastest, slowest] = placed.demanded;
    return interval(
      of(request[0], placed.bought.requestsPerS),
      of(request[1], fastest),
      of(request[2], slowest),
    );
  }

  sizewell.cost = { COMPONENTS, under, times, overlaps, e2e, total, named, place, fleetIn, about, ofOffer, atPrice, ofOwn, month };
})(window.sizewell);
