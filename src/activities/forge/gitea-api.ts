// What is used of the REST API of Gitea and Forgejo, which is the same in both. There is no client of either for Node that
// is kept up with its releases (gitea-js ends at 1.23); of a dozen requests the answers are checked here.
import { z } from 'zod';
import { ask, jsonOf } from './requests.js';

const user = z.object({ login: z.string() }).nullish();
const branch = z.object({ label: z.string(), sha: z.string().nullish(), repo_id: z.number() });

const pullRequest = z.object({
  number: z.number(),
  html_url: z.string(),
  state: z.enum(['open', 'closed']),
  title: z.string(),
  body: z.string().nullish(),
  draft: z.boolean().nullish(),
  mergeable: z.boolean(),
  merged: z.boolean(),
  created_at: z.string().nullish(),
  merged_at: z.string().nullish(),
  merge_commit_sha: z.string().nullish(),
  merged_by: user,
  closed_at: z.string().nullish(),
  labels: z.array(z.object({ name: z.string() })).nullish(),
  base: branch,
  head: branch,
});
export type GiteaPullRequest = z.output<typeof pullRequest>;

const repository = z.object({
  allow_merge_commits: z.boolean().optional(),
  allow_rebase: z.boolean().optional(),
  allow_squash_merge: z.boolean().optional(),
});

const protection = z.object({
  required_approvals: z.number().default(0),
  enable_status_check: z.boolean().default(false),
  status_check_contexts: z.array(z.string()).nullish(),
});

const review = z.object({
  user,
  state: z.string(),
  official: z.boolean().nullish(),
  stale: z.boolean().nullish(),
  dismissed: z.boolean().nullish(),
});
export type GiteaReview = z.output<typeof review>;

const combinedStatus = z.object({
  state: z.string(),
  statuses: z.array(z.object({ context: z.string(), status: z.string() })).nullish(),
});

const event = z.object({ type: z.string(), user, created_at: z.string().nullish() });
const comment = z.object({ body: z.string().nullish() });
const label = z.object({ id: z.number(), name: z.string() });

/** The most that the API gives at once by default. */
const PAGE = 50;
/** No repository is read for ever. */
const MOST_PAGES = 40;

export class GiteaApi {
  private readonly base: string;

  constructor(
    apiUrl: string,
    private readonly token: string,
    address: { readonly owner: string; readonly repo: string },
    private readonly signal: AbortSignal,
  ) {
    this.base = `${apiUrl.replace(/\/+$/, '')}/repos/${encodeURIComponent(address.owner)}/${encodeURIComponent(address.repo)}`;
  }

  repository(): Promise<z.output<typeof repository>> {
    return this.get('', repository);
  }

  pull(number: number): Promise<GiteaPullRequest> {
    return this.get(`/pulls/${number}`, pullRequest);
  }

  /** One from that branch: where there were several, any of them. */
  pullFrom(base: string, head: string): Promise<GiteaPullRequest> {
    return this.get(`/pulls/${encodeURIComponent(base)}/${encodeURIComponent(head)}`, pullRequest);
  }

  openPulls(): Promise<GiteaPullRequest[]> {
    return this.all('/pulls?state=open', pullRequest);
  }

  async lastClosedPulls(): Promise<GiteaPullRequest[]> {
    return this.get(`/pulls?state=closed&sort=recentclose&limit=${PAGE}`, z.array(pullRequest));
  }

  async create(values: {
    readonly base: string;
    readonly head: string;
    readonly title: string;
    readonly body: string;
  }): Promise<GiteaPullRequest> {
    return pullRequest.parse(await this.send('POST', '/pulls', values));
  }

  async edit(number: number, values: { readonly state: 'closed' }): Promise<void> {
    await this.send('PATCH', `/pulls/${number}`, values);
  }

  async merge(number: number, values: Readonly<Record<string, string | boolean>>): Promise<void> {
    await this.send('POST', `/pulls/${number}/merge`, values);
  }

  protectionOf(branchName: string): Promise<z.output<typeof protection>> {
    return this.get(`/branches/${encodeURIComponent(branchName)}`, protection);
  }

  reviews(number: number): Promise<GiteaReview[]> {
    return this.all(`/pulls/${number}/reviews?`, review);
  }

  status(commit: string): Promise<z.output<typeof combinedStatus>> {
    return this.get(`/commits/${commit}/status`, combinedStatus);
  }

  /** What happened to it, the oldest first. */
  timeline(number: number): Promise<z.output<typeof event>[]> {
    return this.all(`/issues/${number}/timeline?`, event);
  }

  comments(number: number): Promise<z.output<typeof comment>[]> {
    return this.get(`/issues/${number}/comments`, z.array(comment));
  }

  async comment(number: number, body: string): Promise<void> {
    await this.send('POST', `/issues/${number}/comments`, { body });
  }

  labels(): Promise<z.output<typeof label>[]> {
    return this.all('/labels?', label);
  }

  async createLabel(name: string, color: string): Promise<z.output<typeof label>> {
    return label.parse(await this.send('POST', '/labels', { name, color }));
  }

  async addLabels(number: number, ids: readonly number[]): Promise<void> {
    await this.send('POST', `/issues/${number}/labels`, { labels: ids });
  }

  async deleteBranch(branchName: string): Promise<void> {
    await this.send('DELETE', `/branches/${encodeURIComponent(branchName)}`);
  }

  private async get<T>(path: string, shape: z.ZodType<T>): Promise<T> {
    return shape.parse(await this.send('GET', path));
  }

  private async all<T>(path: string, shape: z.ZodType<T>): Promise<T[]> {
    const found: T[] = [];
    for (let page = 1; page <= MOST_PAGES; page += 1) {
      const more = await this.get(`${path}&page=${page}&limit=${PAGE}`, z.array(shape).nullable());
      found.push(...(more ?? []));
      if (!more || more.length === 0) break; // a server may give fewer than it was asked for
    }
    return found;
  }

  private async send(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await ask(
      `${this.base}${path}`,
      {
        method,
        headers: {
          accept: 'application/json',
          authorization: `token ${this.token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      },
      this.signal,
    );
    return jsonOf(response);
  }
}
