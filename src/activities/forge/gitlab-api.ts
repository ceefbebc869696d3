// What is used of GitLab's API, through Gitbeaker. Its own requester tries again by itself, ten times within a quarter of
// a second and whatever Retry-After says, and cannot be canceled: requests go out by ours.

import { createRequesterFn } from '@gitbeaker/requester-utils';
import { Branches, MergeRequestNotes, MergeRequests } from '@gitbeaker/rest';
import { z } from 'zod';
import { isOurs } from './branch.js';
import type { MergeOptions, PullRequestSpec } from './forge.js';
import { ask, jsonOf } from './requests.js';

const user = z.object({ username: z.string() }).nullish();

/** Gitbeaker's types follow GitLab's releases later: what is used is checked here. */
const mergeRequest = z.object({
  iid: z.number(),
  web_url: z.string(),
  state: z.enum(['opened', 'closed', 'merged', 'locked']),
  description: z.string().nullish(),
  source_branch: z.string(),
  target_branch: z.string(),
  source_project_id: z.number().nullish(),
  target_project_id: z.number().nullish(),
  labels: z.array(z.string()).nullish(),
  sha: z.string().nullish(),
  detailed_merge_status: z.string().nullish(),
  has_conflicts: z.boolean().nullish(),
  merge_when_pipeline_succeeds: z.boolean().nullish(),
  merge_commit_sha: z.string().nullish(),
  squash_commit_sha: z.string().nullish(),
  created_at: z.string().nullish(),
  merged_at: z.string().nullish(),
  merge_user: user,
  merged_by: user,
  closed_by: user,
  closed_at: z.string().nullish(),
});
export type GitLabMergeRequest = z.output<typeof mergeRequest>;

export class GitLabApi {
  private readonly requests: MergeRequests;
  private readonly notes: MergeRequestNotes;
  private readonly branches: Branches;

  constructor(
    /** Ends in /api/v4. */
    apiUrl: string,
    token: string,
    /** With its groups. */
    private readonly project: string,
    signal: AbortSignal,
  ) {
    const options = {
      host: apiUrl.replace(/\/+$/, '').replace(/\/api\/v4$/, ''),
      token,
      requesterFn: createRequesterFn(
        async (_, request) => request,
        (endpoint, request) => send(endpoint, request ?? {}, signal),
      ),
    };
    this.requests = new MergeRequests(options);
    this.notes = new MergeRequestNotes(options);
    this.branches = new Branches(options);
  }

  async show(number: number): Promise<GitLabMergeRequest> {
    return mergeRequest.parse(await this.requests.show(this.project, number));
  }

  /** Open, closed and merged ones from a branch of the project itself, the newest first. */
  async from(sourceBranch: string, targetBranch: string): Promise<GitLabMergeRequest[]> {
    const found = await this.requests.all({
      projectId: this.project,
      scope: 'all',
      sourceBranch,
      targetBranch,
      orderBy: 'created_at',
      sort: 'desc',
      maxPages: 1,
      perPage: 50,
    });
    return z.array(mergeRequest).parse(found).filter(isOwn);
  }

  async open(): Promise<GitLabMergeRequest[]> {
    const found = await this.requests.all({
      projectId: this.project,
      scope: 'all',
      state: 'opened',
      perPage: 100,
    });
    return z.array(mergeRequest).parse(found).filter(isOwn);
  }

  async create({ head, base, title, body, labels = [] }: PullRequestSpec): Promise<GitLabMergeRequest> {
    const made = await this.requests.create(this.project, head, base, title, {
      description: body,
      removeSourceBranch: isOurs(head),
      ...(labels.length > 0 ? { labels: labels.join(',') } : {}),
    });
    return mergeRequest.parse(made);
  }

  /** Labels that are not there are made. */
  async addLabels(number: number, labels: readonly string[]): Promise<void> {
    await this.requests.edit(this.project, number, { addLabels: labels.join(',') });
  }

  async merge(
    { iid, sha, source_branch }: GitLabMergeRequest,
    { mergeMethod, squashMessage }: MergeOptions,
    automatically: boolean,
  ): Promise<void> {
    await this.requests.merge(this.project, iid, {
      shouldRemoveSourceBranch: isOurs(source_branch),
      ...(sha ? { sha } : {}),
      ...(mergeMethod === 'squash' ? { squash: true } : {}),
      ...(mergeMethod === 'squash' && squashMessage ? { squashCommitMessage: squashMessage } : {}),
      // The second is the name of the first before GitLab 17.11.
      ...(automatically ? { autoMerge: true, mergeWhenPipelineSucceeds: true } : {}),
    });
  }

  async comments(number: number): Promise<string[]> {
    return (await this.notes.all(this.project, number, { perPage: 100 })).map(({ body }) => body);
  }

  async comment(number: number, body: string): Promise<void> {
    await this.notes.create(this.project, number, body);
  }

  async close(number: number): Promise<void> {
    await this.requests.edit(this.project, number, { stateEvent: 'close' });
  }

  async deleteBranch(branch: string): Promise<void> {
    await this.branches.remove(this.project, branch);
  }
}

export function isOwn({ source_project_id, target_project_id }: GitLabMergeRequest): boolean {
  return source_project_id === target_project_id;
}

async function send(endpoint: string, request: Record<string, unknown>, signal: AbortSignal) {
  const { prefixUrl, searchParams, method, headers, body } = request as {
    prefixUrl?: string;
    searchParams?: string;
    method?: string;
    headers?: Record<string, string>;
    body?: string;
  };
  const url = new URL(endpoint, `${prefixUrl?.replace(/\/+$/, '')}/`);
  url.search = searchParams ?? '';
  const init = { method: method ?? 'GET', headers: headers ?? {}, ...(body === undefined ? {} : { body }) };
  const response = await ask(url, init, signal);
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers.entries()),
    body: ((await jsonOf(response)) ?? null) as Record<string, unknown> | null,
  };
}
