#!/bin/sh
# What azd runs before it provisions: choose the footprint (AIRLOCK_FOOTPRINT: small or production), note when the budget
# began, and, once there is a registry, build the image of the commit that is checked out.
set -eu
cd "$(dirname "$0")/.."

footprint=${AIRLOCK_FOOTPRINT:-small}
cp "infra/bicep/$footprint.bicepparam" infra/bicep/main.bicepparam # where azd looks
[ -n "${AIRLOCK_BUDGET_START:-}" ] || azd env set AIRLOCK_BUDGET_START "$(date -u +%Y-%m-01)"

if [ -z "${AIRLOCK_REGISTRY:-}" ]; then
    echo "No registry yet: this time everything but the two apps is made."
    exit 0
fi
if [ -n "$(git status --porcelain)" ]; then
    echo "Commit first: an image is known by its commit, and there are changes that are in none." >&2
    exit 1
fi
tag=$(git rev-parse --short=12 HEAD)
digest() {
    az acr repository show --name "$AIRLOCK_REGISTRY" --image "airlock:$tag" --query digest --output tsv
}
digest >/dev/null 2>&1 || az acr build --registry "$AIRLOCK_REGISTRY" --image "airlock:$tag" .
server=$(az acr show --name "$AIRLOCK_REGISTRY" --query loginServer --output tsv)
azd env set AIRLOCK_IMAGE "$server/airlock@$(digest)"
