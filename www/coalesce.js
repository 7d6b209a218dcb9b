// coalesce.js - work that is asked for more often than it can be done.

// A function that does work() once at a time, and once more if it was called meanwhile: a server that tells of a hundred
// changes is asked twice.
export function coalesce(work) {
  let runs = false;
  let again = false;

  return async () => {
    again = true;
    if (runs)
      return;
    runs = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } finally {
      runs = false;
    }
  };
}
