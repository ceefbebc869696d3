// What is used of GitHub's APIs, through Octokit: REST for what is done, and one GraphQL query for how a pull request
// stands, which REST tells only in several answers. The query is checked against GitHub's published schema.
import { Octokit } from '@octokit/core';
import { GraphqlResponseError } from '@octokit/graphql';
import { paginateRest } from '@octokit/plugin-paginate-rest';
import { z } from 'zod';
import { ForgeAnswer } from './failures.js';
import type { MergeMethod, PullRequestSpec } from './forge.js';
import { ask } from './requests.js';

const Client = Octokit.plugin(paginateRest);

const QUERY = `query ($owner: String!, $repo: String!, $number: Int!) {
  repository(owner: $owner, name: $repo) {
    pullRequest(number: $number) {
      id number url state isDraft isCrossRepository headRefName headRefOid baseRefName
      mergeable mergeStateStatus reviewDecision isInMergeQueue isMergeQueueEnabled
      autoMergeRequest { enabledAt }
      mergeCommit { oid } createdAt mergedAt mergedBy { login } closedAt
      statusCheckRollup { contexts(first: 50) { nodes { __typename
        ... on CheckRun { name status conclusion isRequired(pullRequestNumber: $number) }
        ... on StatusContext { context state isRequired(pullRequestNumber: $number) } } } }
      latestOpinionatedReviews(first: 50) { nodes { state author { login } } }
      timelineItems(last: 1, itemTypes: [CLOSED_EVENT]) { nodes { ... on ClosedEvent { actor { login } } } }
    }
  }
}`;

const ENABLE = `mutation ($input: EnablePullRequestAutoMergeInput!) {
  enablePullRequestAutoMerge(input: $input) { clientMutationId }
}`;

const ENQUEUE = `mutation ($input: EnqueuePullRequestInput!) {
  enqueuePullRequest(input: $input) { clientMutationId }
}`;

const actor = z.object({ login: z.string() }).nullish();

/** What a token may not see of it is null. */
const pullRequest = z.object({
  id: z.string(),
  number: z.number(),
  url: z.string(),
  state: z.enum(['OPEN', 'CLOSED', 'MERGED']),
  isDraft: z.boolean(),
  isCrossRepository: z.boolean(),
  headRefName: z.string(),
  headRefOid: z.string(),
  baseRefName: z.string(),
  mergeable: z.string().nullish(),
  mergeStateStatus: z.string().nullish(),
  reviewDecision: z.string().nullish(),
  isInMergeQueue: z.boolean().nullish(),
  isMergeQueueEnabled: z.boolean().nullish(),
  autoMergeRequest: z.object({}).nullish(),
  mergeCommit: z.object({ oid: z.string() }).nullish(),
  createdAt: z.string().nullish(),
  mergedAt: z.string().nullish(),
  mergedBy: actor,
  closedAt: z.string().nullish(),
  statusCheckRollup: z
    .object({
      contexts: z.object({
        nodes: z.array(
          z.object({
            name: z.string().optional(),
            status: z.string().optional(),
            conclusion: z.string().nullish(),
            context: z.string().optional(),
            state: z.string().optional(),
            isRequired: z.boolean().optional(),
          }),
        ),
      }),
    })
    .nullish(),
  latestOpinionatedReviews: z
    .object({ nodes: z.array(z.object({ state: z.string(), author: actor })) })
    .nullish(),
  timelineItems: z.object({ nodes: z.array(z.object({ actor: actor })) }).nullish(),
});
export type GitHubPullRequest = z.output<typeof pullRequest>;

const answered = z.object({ repository: z.object({ pullRequest }) });

/** As REST lists it. */
interface FoundPullRequest {
  readonly number: number;
  readonly state: string;
  readonly labels: readonly { readonly name: string }[];
}

const found = ({ number, state, labels }: FoundPullRequest): FoundPullRequest => ({ number, state, labels });

export interface GitHubAddress {
  readonly owner: string;
  readonly repo: string;
}

const silent = () => undefined;

/** Octokit, with our time limits and errors. It tries nothing again by itself: whoever calls does, and says so. */
export function octokit(
  apiUrl: string,
  signal: AbortSignal,
  options: ConstructorParameters<typeof Octokit>[0],
) {
  return new Client({
    baseUrl: apiUrl.replace(/\/+$/, ''),
    userAgent: 'throughline',
    log: { debug: silent, info: silent, warn: silent, error: silent },
    request: { fetch: (url: string, init: RequestInit) => ask(url, init, signal) },
    ...options,
  });
}

export class GitHubApi {
  private readonly client: InstanceType<typeof Client>;

  constructor(
    apiUrl: string,
    token: string,
    private readonly address: GitHubAddress,
    signal: AbortSignal,
  ) {
    this.client = octokit(apiUrl, signal, { auth: token });
  }

  async pull(number: number): Promise<GitHubPullRequest> {
    return answered.parse(await this.query(QUERY, { ...this.address, number })).repository.pullRequest;
  }

  /** Open, closed and merged ones from a branch of the repository itself, the newest first. */
  async pullsFrom(head: string, base: string): Promise<FoundPullRequest[]> {
    const { data } = await this.client.request('GET /repos/{owner}/{repo}/pulls', {
      ...this.address,
      head: `${this.address.owner}:${head}`,
      base,
      state: 'all',
      sort: 'created',
      direction: 'desc',
    });
    return data.map(found);
  }

  openPulls() {
    const parameters = { ...this.address, state: 'open', per_page: 100 } as const;
    return this.client.paginate('GET /repos/{owner}/{repo}/pulls', parameters);
  }

  async create(values: Pick<PullRequestSpec, 'base' | 'head' | 'title' | 'body'>): Promise<FoundPullRequest> {
    const parameters = { ...this.address, ...values };
    return found((await this.client.request('POST /repos/{owner}/{repo}/pulls', parameters)).data);
  }

  /** Labels that are not there are made. */
  async addLabels(number: number, labels: readonly string[]): Promise<void> {
    await this.client.request('POST /repos/{owner}/{repo}/issues/{issue_number}/labels', {
      ...this.address,
      issue_number: number,
      labels: [...labels],
    });
  }

  async merge(
    { number, headRefOid: sha }: GitHubPullRequest,
    method: MergeMethod,
    message: { readonly title: string; readonly body: string } | undefined,
  ): Promise<void> {
    await this.client.request('PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge', {
      ...this.address,
      pull_number: number,
      sha,
      merge_method: method,
      ...(message ? { commit_title: message.title, commit_message: message.body } : {}),
    });
  }

  async enableAutoMerge(
    { id, headRefOid }: GitHubPullRequest,
    method: MergeMethod,
    message: { readonly title: string; readonly body: string } | undefined,
  ): Promise<void> {
    await this.query(ENABLE, {
      input: {
        pullRequestId: id,
        expectedHeadOid: headRefOid,
        mergeMethod: method.toUpperCase(),
        ...(message ? { commitHeadline: message.title, commitBody: message.body } : {}),
      },
    });
  }

  async enqueue({ id, headRefOid }: GitHubPullRequest): Promise<void> {
    await this.query(ENQUEUE, { input: { pullRequestId: id, expectedHeadOid: headRefOid } });
  }

  comments(number: number) {
    const parameters = { ...this.address, issue_number: number, per_page: 100 };
    return this.client.paginate('GET /repos/{owner}/{repo}/issues/{issue_number}/comments', parameters);
  }

  async comment(number: number, body: string): Promise<void> {
    await this.client.request('POST /repos/{owner}/{repo}/issues/{issue_number}/comments', {
      ...this.address,
      issue_number: number,
      body,
    });
  }

  async close(number: number): Promise<void> {
    await this.client.request('PATCH /repos/{owner}/{repo}/pulls/{pull_number}', {
      ...this.address,
      pull_number: number,
      state: 'closed',
    });
  }

  async deleteBranch(branch: string): Promise<void> {
    await this.client.request('DELETE /repos/{owner}/{repo}/git/refs/{ref}', {
      ...this.address,
      ref: `heads/${branch}`,
    });
  }

  private async query(query: string, variables: Record<string, unknown>): Promise<unknown> {
    try {
      return await this.client.graphql(query, variables);
    } catch (error) {
      if (!(error instanceof GraphqlResponseError)) throw error;
      // What a token may not see of a pull request is told beside what it may.
      if (answered.safeParse(error.data).success) return error.data;
      throw answerOf(error);
    }
  }
}

/** GraphQL answers with status 200 whatever it says: "GraphQL: rate limits and query limits". */
function answerOf({ errors, headers }: GraphqlResponseError<unknown>): ForgeAnswer {
  const types: unknown[] = (errors ?? []).map(({ type }) => type);
  const status = types.includes('RATE_LIMITED')
    ? 429
    : types.includes('NOT_FOUND')
      ? 404
      : types.includes('FORBIDDEN') || types.includes('INSUFFICIENT_SCOPES')
        ? 403
        : 422;
  const said = (errors ?? []).map(({ message }) => message).join('; ');
  const named = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  );
  return new ForgeAnswer(status, said, new Headers(named));
}
