// The image's registry: no password, nobody anonymous; the services' identities may pull.

@description('Unique text of the installation.')
param token string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('SKU.')
param sku string

@description('Object ids of who may pull.')
param pullerIds array

@description('Workspace for diagnostics.')
param workspaceId string

var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: 'cr${token}'
  location: location
  tags: tags
  sku: { name: sku }
  properties: { adminUserEnabled: false, anonymousPullEnabled: false }
}

resource pullers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in pullerIds: {
    scope: registry
    name: guid(registry.id, id, acrPull)
    properties: {
      principalId: id
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
    }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: registry
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Name of the registry.')
output registryName string = registry.name

@description('Where it is.')
output loginServer string = registry.properties.loginServer
