// Airlock on Azure: both services on Container Apps behind Front Door, Redis between their replicas, secrets in Key Vault.
// Two passes: without an image everything but the two apps, so that there is a registry to build it in and a vault to put
// the secrets in; then, with the image, the apps and the roles on their secrets. docs/deployment.md has the commands.
targetScope = 'subscription'

@description('Name of this installation, part of every name. Small letters, digits and hyphens.')
@minLength(3)
@maxLength(20)
param environmentName string

@description('Azure region of everything that has one.')
param location string = deployment().location

@description('Tags of every resource.')
param tags object = {}

@description('Image of both services, best by digest: registry/airlock@sha256:… Empty: the apps are not made yet.')
param image string = ''

@description('Address space of the virtual network; a /20 at least.')
param addressPrefix string = '10.40.0.0/16'

@description('Networks beside the apps\' subnet from which the ingress reaches the services, comma-separated: those that Container Apps reserves for itself. Part of TRUSTED_EDGE.')
param ingressNetworks string = '100.100.0.0/16'

@description('Premium reaches the services by Private Link and has managed firewall rules. Standard is cheaper: the services then have a public address, which lets in Front Door alone.')
@allowed(['Premium_AzureFrontDoor', 'Standard_AzureFrontDoor'])
param frontDoorSku string = 'Premium_AzureFrontDoor'

@description('Own host name of page and API, such as voice.example.com. Empty: the name that Front Door gives.')
param customDomain string = ''

@description('Whether the firewall refuses (Prevention) or only writes down (Detection).')
@allowed(['Prevention', 'Detection'])
param wafMode string = 'Prevention'

@description('Requests per minute and address above which the firewall refuses; each of Front Door\'s servers counts for itself. Below 200 it is inexact.')
@minValue(10)
param wafRequestsPerMinute int = 1000

@description('Whether the apps\' environment and its replicas are spread over zones. Cannot be changed later.')
param zoneRedundant bool = true

@description('SKU of Azure Managed Redis.')
param redisSku string = 'Balanced_B1'

@description('Whether Redis has a replica. Without one it loses everything when its node is replaced.')
param redisHighAvailability bool = true

@description('SKU of the container registry.')
@allowed(['Basic', 'Standard', 'Premium'])
param registrySku string = 'Standard'

@description('CPU cores of a relay replica, as text: 0.25 to 4 in quarters. Its memory is twice as many GiB. One process uses one core.')
param relayCores string = '1.0'

@description('Least replicas of the relay.')
@minValue(1)
param relayMinReplicas int = 2

@description('Most replicas of the relay. Times sessionsPerReplica: the most live sessions.')
@minValue(1)
param relayMaxReplicas int = 6

@description('Live sessions of one relay replica at most: MAX_SESSIONS.')
@minValue(1)
param sessionsPerReplica int = 400

@description('CPU use of the relays, in percent of their cores, above which one is added. No rule sees open sockets, so this is what tells of them.')
@minValue(10)
@maxValue(90)
param relayCpuPercent int = 55

@description('Least replicas of the token service.')
@minValue(1)
param tokenServiceMinReplicas int = 2

@description('Most replicas of the token service.')
@minValue(1)
param tokenServiceMaxReplicas int = 6

@description('Seconds that a stopping relay gives its live sessions: DRAIN_SECONDS. The platform waits 15 s longer before it kills.')
@minValue(4)
@maxValue(585)
param drainSeconds int = 25

@description('Who may ask for tokens, comma-separated: anonymous, api_key, oidc. CALLERS.')
param callers string = 'api_key'

@description('Origins of other pages that may use a token, beside this installation\'s own. Part of ALLOWED_ORIGINS.')
param otherOrigins array = []

@description('Whether the token service serves the microphone page at /. SERVE_PAGE.')
param servePage bool = true

@description('Where weaknesses may be reported, such as mailto:security@example.com. SECURITY_CONTACT; empty: nowhere is named.')
param securityContact string = ''

@description('Further settings of both services by their names in .env.example, such as { MAX_SESSIONS_PER_SUBJECT: \'1\' }. Values are text, and none may be a secret.')
param settings object = {}

@description('Further settings of the token service alone, such as OIDC_ISSUER.')
param tokenServiceSettings object = {}

@description('Further settings of the relay alone.')
param relaySettings object = {}

@description('Whether OpenAI\'s API is an upstream: the relay then reads openai-api-key. Must be true unless there is another.')
param useOpenAi bool = true

@description('Names in the vault of the keys of [[upstreams]] of the profiles file; the relay may read these too.')
param upstreamKeyNames array = []

@description('Whether to make an Azure OpenAI account with a realtime deployment, which the relay uses by its identity.')
param deployAzureOpenAi bool = false

@description('Region of that account: one that has the model.')
param azureOpenAiLocation string = location

@description('Realtime model to deploy there; the deployment has its name, as the profiles file has it.')
param azureOpenAiModel string = 'gpt-realtime-2.1'

@description('Version of that model. Empty: the usual one.')
param azureOpenAiModelVersion string = ''

@description('Capacity of that deployment, in the model\'s units.')
@minValue(1)
param azureOpenAiCapacity int = 10

@description('Object id of the person or group that may set the vault\'s secrets. Empty: nobody is given that role here.')
param vaultOfficerId string = ''

@description('What that object id is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param vaultOfficerType string = 'User'

@description('Addresses from which the vault can be reached to set secrets, such as 203.0.113.7. Empty: from the virtual network alone.')
param vaultAddresses array = []

@description('E-mail address that gets alerts and budget notices.')
param alertEmail string

@description('Days that logs and telemetry are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes of logs and telemetry a day above which no more is taken; -1: no limit.')
param logDailyGigabytes int = 5

@description('US dollars of the model\'s cost in an hour above which there is an alert.')
@minValue(1)
param hourlySpendUsd int = 50

@description('Monthly budget of the resource group, in the subscription\'s currency; what the model costs at OpenAI is not in it.')
@minValue(1)
param monthlyBudget int = 1500

@description('First day of the budget\'s first month, YYYY-MM-01. When deploying again in a later month, pass that of the first time.')
param budgetStart string = utcNow('yyyy-MM-01')

var token = uniqueString(subscription().id, environmentName, location)
var isPrivate = frontDoorSku == 'Premium_AzureFrontDoor'
var hasApps = !empty(image)
var sharedKeys = ['redis-url', 'token-signing-keys', 'pseudonym-key', 'operator-keys']
var callerKeys = contains(split(replace(callers, ' ', ''), ','), 'api_key') ? ['caller-api-keys'] : []
var openAiKeys = useOpenAi ? ['openai-api-key'] : []
var openAiSettings = useOpenAi && deployAzureOpenAi ? { OPENAI_BASE_URL: openAiAddress } : {}
// Not a place of ours: the SDKs' own default, which must be said where there is an Azure OpenAI too.
var openAiAddress = 'https://api.openai.com/v1'

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: union(tags, { 'azd-env-name': environmentName })
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  name: 'monitoring'
  params: {
    environmentName: environmentName
    token: token
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyGigabytes: logDailyGigabytes
  }
}

module identities 'modules/identities.bicep' = {
  scope: group
  name: 'identities'
  params: {
    environmentName: environmentName
    location: location
    tags: tags
    insightsName: monitoring.outputs.insightsName
  }
}

module network 'modules/network.bicep' = {
  scope: group
  name: 'network'
  params: {
    environmentName: environmentName
    location: location
    tags: tags
    addressPrefix: addressPrefix
    isPrivate: isPrivate
    withOpenAi: deployAzureOpenAi
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'modules/vault.bicep' = {
  scope: group
  name: 'vault'
  params: {
    token: token
    location: location
    tags: tags
    endpointsSubnetId: network.outputs.endpointsSubnetId
    zoneId: network.outputs.vaultZoneId
    addresses: vaultAddresses
    officerId: vaultOfficerId
    officerType: vaultOfficerType
    workspaceId: monitoring.outputs.workspaceId
  }
}

module redis 'modules/redis.bicep' = {
  scope: group
  name: 'redis'
  params: {
    token: token
    location: location
    tags: tags
    sku: redisSku
    highAvailability: redisHighAvailability
    endpointsSubnetId: network.outputs.endpointsSubnetId
    zoneId: network.outputs.redisZoneId
    users: [
      { name: 'tokenservice', principalId: identities.outputs.tokenServicePrincipalId }
      { name: 'relay', principalId: identities.outputs.relayPrincipalId }
    ]
    workspaceId: monitoring.outputs.workspaceId
  }
}

module registry 'modules/registry.bicep' = {
  scope: group
  name: 'registry'
  params: {
    token: token
    location: location
    tags: tags
    sku: registrySku
    pullerIds: [identities.outputs.tokenServicePrincipalId, identities.outputs.relayPrincipalId]
    workspaceId: monitoring.outputs.workspaceId
  }
}

module openAi 'modules/azure_openai.bicep' = if (deployAzureOpenAi) {
  scope: group
  name: 'azure-openai'
  params: {
    token: token
    location: azureOpenAiLocation
    endpointLocation: location
    tags: tags
    model: azureOpenAiModel
    modelVersion: azureOpenAiModelVersion
    capacity: azureOpenAiCapacity
    endpointsSubnetId: network.outputs.endpointsSubnetId
    zoneId: network.outputs.openAiZoneId
    userId: identities.outputs.relayPrincipalId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module apps 'modules/apps_environment.bicep' = {
  scope: group
  name: 'apps-environment'
  params: {
    environmentName: environmentName
    location: location
    tags: tags
    subnetId: network.outputs.appsSubnetId
    isPrivate: isPrivate
    zoneRedundant: zoneRedundant
    workspaceId: monitoring.outputs.workspaceId
  }
}

module edge 'modules/front_door.bicep' = {
  scope: group
  name: 'front-door'
  params: {
    environmentName: environmentName
    token: token
    location: location
    tags: tags
    sku: frontDoorSku
    customDomain: customDomain
    appsEnvironmentId: apps.outputs.environmentId
    tokenServiceHost: apps.outputs.tokenServiceHost
    relayHost: apps.outputs.relayHost
    wafMode: wafMode
    wafRequestsPerMinute: wafRequestsPerMinute
    workspaceId: monitoring.outputs.workspaceId
  }
}

// What both services are told; the names are those of .env.example.
var sharedSettings = {
  AIRLOCK_ENV: 'production'
  ALLOWED_ORIGINS: join(union(['https://${edge.outputs.hostName}'], otherOrigins), ',')
  AZURE_FRONT_DOOR_ID: edge.outputs.frontDoorId
  DRAIN_SECONDS: string(drainSeconds)
  KEY_VAULT_URL: vault.outputs.address
  OPERATOR_HOST: '0.0.0.0'
  REDIS_AUTH: 'entra'
  REDIS_MODE: 'single'
  TELEMETRY_AUTH: 'entra'
  TRUSTED_EDGE: '${ingressNetworks},${network.outputs.appsPrefix}'
}
var azureOpenAiSettings = deployAzureOpenAi
  ? { AZURE_OPENAI_AUTH: 'managed_identity', AZURE_OPENAI_ENDPOINT: openAi!.outputs.address }
  : {}

module tokenService 'modules/container_app.bicep' = if (hasApps) {
  scope: group
  name: 'token-service'
  params: {
    name: apps.outputs.tokenServiceName
    location: location
    tags: tags
    environmentId: apps.outputs.environmentId
    image: image
    registryServer: registry.outputs.loginServer
    package: 'token_service'
    identityId: identities.outputs.tokenServiceId
    clientId: identities.outputs.tokenServiceClientId
    insightsName: monitoring.outputs.insightsName
    cores: '0.5'
    minReplicas: tokenServiceMinReplicas
    maxReplicas: tokenServiceMaxReplicas
    cpuPercent: 60
    drainSeconds: drainSeconds
    operatorPort: 8090
    settings: union(
      sharedSettings,
      azureOpenAiSettings,
      openAiSettings,
      {
        CALLERS: callers
        RELAY_URL: 'wss://${edge.outputs.hostName}/v1/realtime'
        SERVE_PAGE: string(servePage)
      },
      empty(securityContact) ? {} : { SECURITY_CONTACT: securityContact },
      settings,
      tokenServiceSettings
    )
    vaultName: vault.outputs.vaultName
    principalId: identities.outputs.tokenServicePrincipalId
    secretNames: concat(sharedKeys, callerKeys)
    workspaceId: monitoring.outputs.workspaceId
  }
}

module relay 'modules/container_app.bicep' = if (hasApps) {
  scope: group
  name: 'relay'
  params: {
    name: apps.outputs.relayName
    location: location
    tags: tags
    environmentId: apps.outputs.environmentId
    image: image
    registryServer: registry.outputs.loginServer
    package: 'relay'
    identityId: identities.outputs.relayId
    clientId: identities.outputs.relayClientId
    insightsName: monitoring.outputs.insightsName
    cores: relayCores
    minReplicas: relayMinReplicas
    maxReplicas: relayMaxReplicas
    cpuPercent: relayCpuPercent
    drainSeconds: drainSeconds
    operatorPort: 8091
    settings: union(
      sharedSettings,
      azureOpenAiSettings,
      openAiSettings,
      { MAX_SESSIONS: string(sessionsPerReplica) },
      settings,
      relaySettings
    )
    vaultName: vault.outputs.vaultName
    principalId: identities.outputs.relayPrincipalId
    secretNames: concat(sharedKeys, openAiKeys, upstreamKeyNames)
    workspaceId: monitoring.outputs.workspaceId
  }
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  name: 'alerts'
  params: {
    environmentName: environmentName
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
    email: alertEmail
    enabled: hasApps
    hourlySpendUsd: hourlySpendUsd
    monthlyBudget: monthlyBudget
    budgetStart: budgetStart
  }
}

// Named as azd keeps them, for the commands of docs/deployment.md.
@description('Where page and API are.')
output AIRLOCK_URL string = 'https://${edge.outputs.hostName}'

@description('Resource group of everything.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the registry to build the image in.')
output AIRLOCK_REGISTRY string = registry.outputs.registryName

@description('Name of the vault to set the secrets in.')
output AIRLOCK_VAULT string = vault.outputs.vaultName

@description('Name of the apps\' environment, where Front Door\'s Private Link is to be approved.')
output AIRLOCK_APPS_ENVIRONMENT string = apps.outputs.environmentName

@description('Value of the vault\'s redis-url; no login is in it.')
output AIRLOCK_REDIS_ADDRESS string = redis.outputs.address

@description('What to put into DNS to prove that the custom domain is yours, as the TXT record _dnsauth. Empty without one.')
output AIRLOCK_DOMAIN_PROOF string = edge.outputs.domainProof
