// An Azure OpenAI account with one realtime deployment; no key of it works, and the relay's identity may call it.

@description('Unique text of the installation.')
param token string

@description('Region of the account: one that has the model.')
param location string

@description('Region of the virtual network.')
param endpointLocation string

@description('Tags.')
param tags object

@description('Model, and name of its deployment.')
param model string

@description('Version of the model; empty: the usual one.')
param modelVersion string

@description('Capacity, in the model\'s units.')
param capacity int

@description('Subnet of the private endpoint.')
param endpointsSubnetId string

@description('Name zone of the private endpoint.')
param zoneId string

@description('Object id of who may call it.')
param userId string

@description('Workspace for diagnostics.')
param workspaceId string

var cognitiveServicesOpenAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: 'oai-${token}'
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    customSubDomainName: 'oai-${token}' // without it no token of an identity is taken
    disableLocalAuth: true
    publicNetworkAccess: 'Disabled'
    networkAcls: { defaultAction: 'Deny' }
  }
}

resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = {
  parent: account
  name: model
  sku: { name: 'GlobalStandard', capacity: capacity }
  properties: {
    model: { format: 'OpenAI', name: model, version: empty(modelVersion) ? null : modelVersion }
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

resource mayCall 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, userId, cognitiveServicesOpenAiUser)
  properties: {
    principalId: userId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', cognitiveServicesOpenAiUser)
  }
}

module endpoint 'private_endpoint.bicep' = {
  name: 'openai-endpoint'
  params: {
    name: 'pe-${account.name}'
    location: endpointLocation
    tags: tags
    subnetId: endpointsSubnetId
    targetId: account.id
    groupId: 'account'
    zoneId: zoneId
  }
  dependsOn: [deployment]
}

// Its logs say who asked when; what was said is in none of them.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Address of the account: AZURE_OPENAI_ENDPOINT.')
output address string = account.properties.endpoint
