#!/usr/bin/env bash
# What Throughline replaces: a release as stages of a pipeline in bash. Runs the Job, judges the result, builds the image,
# patches and pushes the GitOps repository, and waits for Argo CD. Everything comes by environment variable, as it does
# there. Prints "stage NAME MILLISECONDS" for each stage.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begun=$(date +%s%3N)
stage() {
  local now
  now=$(date +%s%3N)
  echo "stage $1 $((now - begun))"
  begun=$now
}
k() { kubectl --kubeconfig "$KUBECONFIG" "$@"; }

k apply --namespace "$TRAINING" --filename "$JOB_FILE" > /dev/null
k wait --namespace "$TRAINING" --for=condition=complete --timeout=300s "job/$JOB" > /dev/null
pod=$(k get pods --namespace "$TRAINING" --selector "job-name=$JOB" --output 'jsonpath={.items[0].metadata.name}')
result=$(k get pod --namespace "$TRAINING" "$pod" --output 'jsonpath={.status.containerStatuses[0].state.terminated.message}')
model=$(k get pod --namespace "$TRAINING" "$pod" --output 'jsonpath={.status.initContainerStatuses[0].state.terminated.message}' | yq --input-format json '.model.uri')
stage train

accuracy=$(echo "$result" | yq --input-format json '.metrics.accuracy')
awk -v accuracy="$accuracy" 'BEGIN { exit !(accuracy >= 0.95) }'
model_id=$(echo "$result" | yq --input-format json '.model.id')
stage evaluate

git clone --quiet "$MODEL_URL" "$work/model"
commit=$(git -C "$work/model" rev-parse HEAD)
# The image and the cache have layers in common: a registry may mix the two pushes up, and takes the second attempt.
build() {
  buildctl --addr "$BUILDKIT_ADDRESS" --tlscacert "$CA" --tlscert "$BUILDKIT_CERT" --tlskey "$BUILDKIT_KEY" \
    build --progress=plain --frontend=dockerfile.v0 \
    --local "context=$work/model/inference" --local "dockerfile=$work/model/inference" \
    --opt "context:model=${model/oci:/docker-image:}" --opt "context:base=docker-image://$BASE_IMAGE" \
    --opt "build-arg:MODEL_ID=$model_id" \
    --import-cache "type=registry,ref=$IMAGE:buildcache" \
    --export-cache "type=registry,ref=$IMAGE:buildcache,mode=max,image-manifest=true,oci-mediatypes=true" \
    --metadata-file "$work/metadata.json" \
    --output "type=image,push=true,name=$IMAGE:$JOB,oci-mediatypes=true" > "$work/build.log" 2>&1
}
build || build || { cat "$work/build.log"; exit 1; }
digest=$(yq --input-format json --output-format yaml '."containerimage.digest"' "$work/metadata.json")
stage build

git clone --quiet --depth 1 "$GITOPS_URL" "$work/gitops"
export image="$IMAGE:$JOB@$digest" TRACEPARENT model_id
yq --inplace --output-format json '
  .spec.template.metadata.annotations."orchestration.trace_id" = strenv(TRACEPARENT) |
  (.spec.template.spec.containers[] | select(.name == "inference")).image = strenv(image) |
  (.spec.template.spec.containers[] | select(.name == "inference")).env = [{"name": "MODEL_ID", "value": strenv(model_id)}]
' "$work/gitops/k8s/deployment.yaml"
git -C "$work/gitops" -c user.name=glue -c user.email=glue@localhost commit --quiet --all --message "Deploy $model_id of $commit"
git -C "$work/gitops" push --quiet origin HEAD:main
revision=$(git -C "$work/gitops" rev-parse HEAD)
stage push

k annotate --namespace "$ARGOCD" --overwrite "application/$APPLICATION" argocd.argoproj.io/refresh=normal > /dev/null
k wait --namespace "$ARGOCD" --timeout=120s --for="jsonpath={.status.operationState.syncResult.revision}=$revision" "application/$APPLICATION" > /dev/null
k wait --namespace "$ARGOCD" --timeout=120s --for='jsonpath={.status.operationState.phase}=Succeeded' "application/$APPLICATION" > /dev/null
k rollout status --namespace "$SERVING" --timeout=120s "deployment/$APPLICATION" > /dev/null
k wait --namespace "$ARGOCD" --timeout=120s --for='jsonpath={.status.health.status}=Healthy' "application/$APPLICATION" > /dev/null
stage deploy
