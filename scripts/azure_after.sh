#!/bin/sh
# What azd runs after it provisioned: let our Front Door's Private Link in, which nobody does by himself, and say what is
# next. Standard has no such link; then there is nothing to let in.
set -eu

az network private-endpoint-connection list --resource-group "$AZURE_RESOURCE_GROUP" \
    --name "$AIRLOCK_APPS_ENVIRONMENT" --type Microsoft.App/managedEnvironments --output tsv --query \
    "[?properties.privateLinkServiceConnectionState.status=='Pending' && properties.privateLinkServiceConnectionState.description=='Airlock $AZURE_ENV_NAME'].id" |
    while read -r connection; do
        echo "Approving Front Door's connection $connection"
        az network private-endpoint-connection approve --id "$connection" --description "Front Door of $AZURE_ENV_NAME" --output none
    done

if [ -z "${AIRLOCK_IMAGE:-}" ]; then
    echo "Now set the secrets in $AIRLOCK_VAULT (docs/deployment.md), then run azd up again: it makes the two apps."
else
    echo "Airlock is at $AIRLOCK_URL; Front Door takes up to 20 minutes to know."
fi
