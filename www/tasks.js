// tasks.js - tools that run as tasks: those of 2025-11-25 (the client asks for one), and the extension of 2026-07-28 (the
// server decides). Both are polled until they end.
import { Cancelled, RpcError } from './client.js';
import { MODERN } from './modern.js';

const POLL_MIN_MS = 50;
const POLL_MAX_MS = 60000;
const ENDED = ['completed', 'failed', 'cancelled'];

export const EXTENSION = 'io.modelcontextprotocol/tasks';

// The task that a result of tools/call is, or undefined.
export const taskOf = (result) => result.resultType === 'task' ? result : result.task;

// Follows a task to its end, and gives the result of its tool. onStatus(task) at each look; an abort cancels it.
export async function follow(client, task, { signal, onStatus, onNotification }) {
  const { taskId } = task;
  const isModern = client.revision === MODERN;
  const answered = new Set(); // keys of questions: the server may need a moment to see that they are

  try {
    for (let now = task; ; now = await client.request('tasks/get', { taskId }, { signal })) {
      onStatus(now);
      const questions = Object.entries(now.inputRequests ?? {}).filter(([key]) => !answered.has(key));
      if (isModern && now.status === 'input_required' && questions.length > 0) {
        await client.request('tasks/update', { taskId, inputResponses: await client.answers(questions, signal) });
        questions.forEach(([key]) => answered.add(key));
      } else if (isModern && ENDED.includes(now.status)) {
        return endOf(now);
      } else if (!isModern && now.status !== 'working') { // asks on the stream of this request, if it has to
        return await client.request('tasks/result', { taskId }, { signal, onNotification });
      }
      await pause(now.pollIntervalMs ?? now.pollInterval ?? 1000, signal);
    }
  } catch (e) {
    if (signal.aborted)
      await client.request('tasks/cancel', { taskId });
    throw e;
  }
}

function endOf(task) {
  if (task.status === 'failed')
    throw new RpcError(task.error ?? { message: 'the task failed', code: 0 });
  if (task.status === 'cancelled')
    throw new Cancelled('The task was cancelled');
  return task.result ?? {};
}

function pause(ms, signal) {
  return new Promise((done, cancelled) => {
    const timer = setTimeout(done, Math.min(Math.max(Number(ms) || 0, POLL_MIN_MS), POLL_MAX_MS));
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      cancelled(new Cancelled());
    }, { once: true });
  });
}
