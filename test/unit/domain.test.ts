// Ids, trace context, results and gates: pure rules, and what tries to break them.
import { describe, expect, it } from 'vitest';
import { parseResultFile, parseResultLog } from '../../src/activities/training/result.js';
import { ThroughlineError } from '../../src/domain/errors.js';
import { isReleaseId, jobNameOf, releaseIdOf } from '../../src/domain/ids.js';
import { formatTraceparent, parseTraceparent, releaseContext, spanIdOf } from '../../src/domain/trace.js';
import { redact } from '../../src/domain/urls.js';
import { classifyPushFailure } from '../../src/git/index.js';
import { expandReferences } from '../../src/processes/references.js';
import { parseTrigger } from '../../src/releases/request.js';
import { judge } from '../../src/workflows/gate.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const VALID = `00-${TRACE}-${SPAN}-01`;
const at = new Date('2026-01-02T03:04:05.678Z');

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof ThroughlineError ? error.code : String(error);
  }
  return 'taken';
}

describe('ids', () => {
  it('I1: a release id is a function of the key, and a DNS label', () => {
    expect(releaseIdOf('a')).toBe(releaseIdOf('a'));
    const ids = new Set(Array.from({ length: 5000 }, (_, index) => releaseIdOf(`key ${index}`)));
    expect(ids.size).toBe(5000);
    for (const id of ids) expect(isReleaseId(id)).toBe(true);
  });

  it('I2: a Job’s name is a DNS label of at most 63 characters, whatever the model is called', () => {
    for (const model of ['digits', 'X'.repeat(100), 'Ünïcode Model!', '---', '']) {
      expect(jobNameOf(releaseIdOf('a'), model, 'c')).toMatch(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/);
    }
    expect(jobNameOf(releaseIdOf('a'), 'm', 'c1')).not.toBe(jobNameOf(releaseIdOf('a'), 'm', 'c2'));
  });
});

describe('traceparent', () => {
  it('is read by the rules of W3C Trace Context', () => {
    expect(formatTraceparent(parseTraceparent(VALID))).toBe(VALID);
    expect(parseTraceparent(`cc-${TRACE}-${SPAN}-00-further`)).toMatchObject({ traceId: TRACE, flags: 0 });
    for (const text of [
      '',
      'none',
      `${VALID}-x`,
      `ff-${TRACE}-${SPAN}-01`,
      VALID.toUpperCase(),
      `00-${'0'.repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
    ]) {
      expect(
        codeOf(() => parseTraceparent(text)),
        text,
      ).toBe('TL_TRACEPARENT_INVALID');
    }
  });

  it('of a release joins the caller’s trace, keeps its flags, and is the same every time', () => {
    const release = releaseIdOf('a');
    expect(releaseContext(release, parseTraceparent(`00-${TRACE}-${SPAN}-00`))).toEqual({
      traceId: TRACE,
      spanId: spanIdOf(release, 'RUN'),
      flags: 0,
    });
    expect(releaseContext(release, undefined)).toEqual(releaseContext(release, undefined));
    expect(spanIdOf(release, 'train')).not.toBe(spanIdOf(release, 'build'));
  });
});

describe('a training’s result', () => {
  it('is read from JSON, NaN and Infinity included', () => {
    const text =
      '{"model":{"id":"m-1","uri":"file:///x","digest":"sha256:1"},"metrics":{"accuracy":NaN,"loss":Infinity,"f1":0.5,"text NaN":-Infinity,"auc":null},"dataset":{"digest":"d"}}';
    expect(parseResultFile(text)).toEqual({
      modelId: 'm-1',
      modelUri: 'file:///x',
      modelDigest: 'sha256:1',
      datasetDigest: 'd',
      metrics: { accuracy: 'NaN', loss: 'Infinity', f1: 0.5, 'text NaN': '-Infinity', auc: 'NaN' },
    });
  });

  it.each([
    ['no JSON', 'accuracy: 0.9'],
    ['another shape', '[1]'],
    ['no model', '{"metrics":{}}'],
    ['a metric that is text', '{"model":{"id":"m"},"metrics":{"accuracy":"good"}}'],
    ['more than Kubernetes keeps', `{"model":{"id":"m"},"metrics":{},"x":"${'x'.repeat(5000)}"}`],
    ['cut in the middle', '{"model":{"id":"m"},"metrics":{"accura'],
  ])('is refused where it is %s', (_, text) => {
    expect(codeOf(() => parseResultFile(text))).toBe('TL_RESULT_UNREADABLE');
  });

  it('is read from the last lines of the log where the file is empty', () => {
    expect(parseResultFile(' \n')).toBeUndefined();
    expect(
      parseResultLog('accuracy=0.1\nMODEL_ID=old\nx MODEL_ID=no\naccuracy=0.96\nMODEL_ID=new\ndone\n'),
    ).toEqual({ modelId: 'new', metrics: { accuracy: 0.96 } });
    expect(parseResultLog('MODEL_ID=m\naccuracy=nan\n')?.metrics).toEqual({ accuracy: 'NaN' });
    expect(parseResultLog('nothing')).toBeUndefined();
  });
});

describe('the gate', () => {
  const rules = [
    { metric: 'accuracy', atLeast: 0.95 },
    { metric: 'loss', atMost: 0.2 },
  ];
  it('takes a model at the bounds, and refuses one beyond, missing or not finite', () => {
    expect(judge({ accuracy: 0.95, loss: 0.2 }, rules)).toBeUndefined();
    expect(judge({ accuracy: 0.9499, loss: 0.2 }, rules)?.code).toBe('TL_METRIC_BELOW_GATE');
    expect(judge({ accuracy: 0.95, loss: 0.21 }, rules)?.code).toBe('TL_METRIC_BELOW_GATE');
    expect(judge({ accuracy: 0.95 }, rules)?.code).toBe('TL_METRIC_MISSING');
    expect(judge({ accuracy: 'NaN', loss: 0 }, rules)?.code).toBe('TL_METRIC_NOT_FINITE');
    expect(judge({}, [{ metric: 'constructor', atLeast: 0 }])?.code).toBe('TL_METRIC_MISSING');
  });
});

describe('a trigger', () => {
  const repository = 'https://git.example/ml/digits.git';
  it('takes Spinnaker’s objects, and keys the release by execution, stage and restart', () => {
    const body = {
      repository,
      execution: { id: 'E1', application: 'a', name: 'p', stages: [{}] },
      stage: { id: 'S', refId: '3', context: {} },
      trigger: { type: 'git', hash: 'a'.repeat(40), branch: 'main', user: 'u' },
    };
    const first = parseTrigger(body, { at });
    expect(first.request).toMatchObject({
      ref: 'a'.repeat(40),
      spinnaker: { executionId: 'E1', stage: '3' },
      requestedBy: 'u',
      requestedAt: at.toISOString(),
    });
    expect(parseTrigger(body, { at: new Date() }).request.release).toBe(first.request.release);
    const restarted = { ...body, stage: { ...body.stage, context: { restartDetails: { restartTime: 5 } } } };
    expect(parseTrigger(restarted, { at }).request.release).not.toBe(first.request.release);
    expect(parseTrigger({ repository }, { at }).request.release).not.toBe(
      parseTrigger({ repository }, { at }).request.release,
    );
  });

  it.each([
    ['no object', 'text', 'TL_REQUEST_INVALID'],
    ['an unknown field', { repository, branch: 'main' }, 'TL_REQUEST_INVALID'],
    ['an option as ref', { repository, ref: '--upload-pack=x' }, 'TL_REQUEST_INVALID'],
    ['a ref with ..', { repository, ref: 'a..b' }, 'TL_REQUEST_INVALID'],
    [
      'an option as Spinnaker’s commit',
      { repository, trigger: { hash: '--upload-pack=x' } },
      'TL_REQUEST_INVALID',
    ],
    ['an expression as a key', { repository, trigger: { '${x}': 1 } }, 'TL_REQUEST_INVALID'],
    ['a query in the URL', { repository: 'https://git.example/x?token=y' }, 'TL_REPOSITORY_INVALID'],
    ['a parameter that is a secret', { repository, parameters: { API_TOKEN: 'x' } }, 'TL_REQUEST_INVALID'],
    ['an option as repository', { repository: '--upload-pack=x' }, 'TL_REPOSITORY_INVALID'],
    ['a helper as repository', { repository: 'ext::sh -c id' }, 'TL_REPOSITORY_INVALID'],
    ['a token in the URL', { repository: 'https://hunter2@git.example/x' }, 'TL_REPOSITORY_INVALID'],
    ['a plan outside', { repository, plan: '../throughline.yaml' }, 'TL_PATH_UNSAFE'],
    ['a reserved parameter', { repository, parameters: { TRACEPARENT: 'x' } }, 'TL_REQUEST_INVALID'],
    ['a traceparent that is none', { repository, traceparent: 'hello' }, 'TL_TRACEPARENT_INVALID'],
    ['an unresolved expression', { repository, execution: { id: '${execution.id}' } }, 'TL_REQUEST_INVALID'],
    ['a control character', { repository: 'https://git.example/a\nb' }, 'TL_REQUEST_INVALID'],
  ])('is refused where it has %s', (_, body, code) => {
    expect(codeOf(() => parseTrigger(body, { at }))).toBe(code);
  });
});

describe('texts', () => {
  it('I9: user information in URLs is never shown', () => {
    expect(redact('fatal: https://me:hunter2@git.example/x and ssh://git:pw@h')).toBe(
      'fatal: https://***@git.example/x and ssh://***@h',
    );
  });
  it('of a failed push are told apart', () => {
    expect(classifyPushFailure(' ! [rejected]        abc -> main (fetch first)')).toBe('raced');
    expect(
      classifyPushFailure(
        " ! [remote rejected] abc -> main (cannot lock ref 'refs/heads/main': is at 1 but expected 2)",
      ),
    ).toBe('raced');
    expect(classifyPushFailure(' ! [remote rejected] abc -> main (incorrect old value provided)')).toBe(
      'raced',
    );
    expect(classifyPushFailure(' ! [remote rejected] main -> main (pre-receive hook declined)')).toBe(
      'refused',
    );
    expect(classifyPushFailure('fatal: unable to access: Could not resolve host')).toBe('unknown');
  });
  it('of a command are expanded as Kubernetes does', () => {
    expect(expandReferences('$(A) $$(A) $(B) $A $$ $(', { A: '1' })).toBe('1 $(A) $(B) $A $ $(');
  });
});
