CREATE TABLE "attestations" (
	"release" text NOT NULL,
	"statement" text NOT NULL,
	"predicate_type" text NOT NULL,
	"beside" text NOT NULL,
	"bundle" jsonb NOT NULL,
	CONSTRAINT "attestations_release_statement_pk" PRIMARY KEY("release","statement")
);
--> statement-breakpoint
CREATE TABLE "deployments" (
	"release" text,
	"environment" text NOT NULL,
	"model" text NOT NULL,
	"repository" text NOT NULL,
	"branch" text NOT NULL,
	"manifest" text NOT NULL,
	"commit" text collate "C" NOT NULL,
	"cause" text NOT NULL,
	"image_digest" text,
	"application" text,
	"revision" text collate "C",
	"workload_kind" text,
	"workload_namespace" text,
	"workload" text,
	"committed_at" timestamp (3) with time zone,
	"served_from" timestamp (3) with time zone,
	CONSTRAINT "deployments_commit_environment_model_repository_manifest_pk" PRIMARY KEY("commit","environment","model","repository","manifest")
);
--> statement-breakpoint
CREATE TABLE "drifts" (
	"environment" text NOT NULL,
	"model" text NOT NULL,
	"repository" text NOT NULL,
	"manifest" text NOT NULL,
	"branch" text NOT NULL,
	"release" text,
	"checked_at" timestamp (3) with time zone NOT NULL,
	"since" timestamp (3) with time zone,
	"found" jsonb NOT NULL,
	"unchecked" text[] NOT NULL,
	CONSTRAINT "drifts_environment_model_repository_manifest_pk" PRIMARY KEY("environment","model","repository","manifest")
);
--> statement-breakpoint
CREATE TABLE "outbox" (
	"id" text PRIMARY KEY NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"n" integer NOT NULL,
	"event" jsonb
);
--> statement-breakpoint
CREATE TABLE "pods" (
	"release" text NOT NULL,
	"namespace" text NOT NULL,
	"name" text collate "C" NOT NULL,
	"environment" text NOT NULL,
	"uid" text,
	"node" text,
	"image" text,
	"created_at" timestamp (3) with time zone,
	"started_at" timestamp (3) with time zone,
	"ended_at" timestamp (3) with time zone,
	"exit_code" integer,
	"ending" text,
	CONSTRAINT "pods_release_namespace_name_pk" PRIMARY KEY("release","namespace","name")
);
--> statement-breakpoint
CREATE TABLE "positions" (
	"source" text PRIMARY KEY NOT NULL,
	"closed_until" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "releases" (
	"id" text PRIMARY KEY NOT NULL,
	"status" text NOT NULL,
	"model" text,
	"repository" text NOT NULL,
	"ref" text NOT NULL,
	"plan_path" text NOT NULL,
	"commit" text collate "C",
	"dataset_name" text,
	"dataset_version" text,
	"dataset_digest" text,
	"parameters" jsonb NOT NULL,
	"metrics" jsonb,
	"job_namespace" text,
	"job" text,
	"trainer_image" text,
	"trainer_digest" text,
	"training_started_at" timestamp (3) with time zone,
	"training_ended_at" timestamp (3) with time zone,
	"model_id" text,
	"model_digest" text,
	"model_uri" text,
	"image" text,
	"image_repository" text,
	"image_digest" text,
	"base_images" jsonb,
	"trace_id" text collate "C" NOT NULL,
	"traceparent" text NOT NULL,
	"ids" text[] NOT NULL,
	"execution" text,
	"requested_by" text,
	"requested_at" timestamp (3) with time zone NOT NULL,
	"started_at" timestamp (3) with time zone NOT NULL,
	"ended_at" timestamp (3) with time zone,
	"problem" jsonb,
	"stages" jsonb NOT NULL,
	"run_started_at" timestamp (3) with time zone NOT NULL,
	"events" integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE "targets" (
	"environment" text NOT NULL,
	"model" text NOT NULL,
	"repository" text NOT NULL,
	"manifest" text NOT NULL,
	"branch" text NOT NULL,
	"scanned" text,
	CONSTRAINT "targets_environment_model_repository_manifest_pk" PRIMARY KEY("environment","model","repository","manifest")
);
--> statement-breakpoint
ALTER TABLE "attestations" ADD CONSTRAINT "attestations_release_releases_id_fk" FOREIGN KEY ("release") REFERENCES "public"."releases"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "deployments" ADD CONSTRAINT "deployments_release_releases_id_fk" FOREIGN KEY ("release") REFERENCES "public"."releases"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "pods" ADD CONSTRAINT "pods_release_releases_id_fk" FOREIGN KEY ("release") REFERENCES "public"."releases"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "deployments_release" ON "deployments" USING btree ("release");--> statement-breakpoint
CREATE INDEX "deployments_target" ON "deployments" USING btree ("environment","model","repository","manifest","served_from");--> statement-breakpoint
CREATE INDEX "deployments_environment" ON "deployments" USING btree ("environment","served_from");--> statement-breakpoint
CREATE INDEX "deployments_digest" ON "deployments" USING btree ("image_digest");--> statement-breakpoint
CREATE INDEX "deployments_workload" ON "deployments" USING btree ("workload","workload_namespace");--> statement-breakpoint
CREATE INDEX "outbox_unsent" ON "outbox" USING btree ("at","n","id") WHERE "outbox"."event" is not null;--> statement-breakpoint
CREATE INDEX "pods_name" ON "pods" USING btree ("name");--> statement-breakpoint
CREATE INDEX "pods_uid" ON "pods" USING btree ("uid");--> statement-breakpoint
CREATE INDEX "releases_model" ON "releases" USING btree ("model","requested_at");--> statement-breakpoint
CREATE INDEX "releases_commit" ON "releases" USING btree ("commit");--> statement-breakpoint
CREATE INDEX "releases_dataset" ON "releases" USING btree ("dataset_name","dataset_version","requested_at");--> statement-breakpoint
CREATE INDEX "releases_dataset_digest" ON "releases" USING btree ("dataset_digest");--> statement-breakpoint
CREATE INDEX "releases_job" ON "releases" USING btree ("job");--> statement-breakpoint
CREATE INDEX "releases_trainer" ON "releases" USING btree ("trainer_digest");--> statement-breakpoint
CREATE INDEX "releases_model_id" ON "releases" USING btree ("model_id");--> statement-breakpoint
CREATE INDEX "releases_model_digest" ON "releases" USING btree ("model_digest");--> statement-breakpoint
CREATE INDEX "releases_image" ON "releases" USING btree ("image_repository","requested_at");--> statement-breakpoint
CREATE INDEX "releases_image_digest" ON "releases" USING btree ("image_digest");--> statement-breakpoint
CREATE INDEX "releases_trace" ON "releases" USING btree ("trace_id");--> statement-breakpoint
CREATE INDEX "releases_execution" ON "releases" USING btree ("execution");--> statement-breakpoint
CREATE INDEX "releases_ids" ON "releases" USING gin ("ids");--> statement-breakpoint
CREATE INDEX "releases_open" ON "releases" USING btree ("id") WHERE "releases"."ended_at" is null;