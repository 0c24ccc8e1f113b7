// The last minutes of each process manager, for the charts: a ring of samples, all of them taken at the same times.

export const fields = ['rate', 'behind', 'lag', 'parked', 'dead'];
const capacity = 450;

export class History {
  #times = new Float64Array(capacity);
  #series = new Map();
  #next = 0;
  #length = 0;

  /** Adds a sample: for each name, an array of numbers in the order of the fields. */
  push(time, values) {
    this.#times[this.#next] = time;
    this.#length = Math.min(this.#length + 1, capacity);
    for (const name of this.#series.keys()) if (!values.has(name)) this.#series.delete(name);
    for (const [name, sample] of values) {
      let ring = this.#series.get(name);
      if (!ring) this.#series.set(name, (ring = new Float32Array(capacity * fields.length).fill(NaN)));
      ring.set(sample, this.#next * fields.length);
    }
    this.#next = (this.#next + 1) % capacity;
  }

  /** The samples from one time on, as columns: t and the fields. What is not known is null. */
  of(name, since = 0) {
    const columns = { t: [], ...Object.fromEntries(fields.map((field) => [field, []])) };
    const ring = this.#series.get(name);
    if (!ring) return columns;
    for (let i = 0; i < this.#length; i++) {
      const at = (this.#next - this.#length + i + capacity) % capacity;
      if (this.#times[at] < since) continue;
      columns.t.push(this.#times[at]);
      fields.forEach((field, n) => {
        const value = ring[at * fields.length + n];
        columns[field].push(Number.isFinite(value) ? Math.round(value * 1000) / 1000 : null);
      });
    }
    return columns;
  }

  /** The last values of one field, for a line without axes. */
  tail(name, field, count) {
    return this.of(name)[field].slice(-count);
  }
}
