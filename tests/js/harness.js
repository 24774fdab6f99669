// A few lines of test runner: `test` registers, `run` returns [{ name, error }].

const tests = [];

export function test(name, body) {
  tests.push({ name, body });
}

export async function run() {
  const results = [];
  for (const { name, body } of tests) {
    let error = null;
    try {
      await body();
    } catch (thrown) {
      error = thrown.stack ?? String(thrown);
    }
    results.push({ name, error });
  }
  return results;
}

export function equal(actual, expected) {
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== e) throw new Error(`expected ${e}, got ${a}`);
}

export function near(actual, expected, tolerance) {
  if (!(Math.abs(actual - expected) <= tolerance)) {
    throw new Error(`expected ${expected} ± ${tolerance}, got ${actual}`);
  }
}

export function ok(value, what) {
  if (!value) throw new Error(`not so: ${what}`);
}
