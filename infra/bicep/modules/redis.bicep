// Azure Managed Redis: one address, TLS, logins by identity alone, and nothing evicted: a lost count opens a door.

@description('Unique text of the installation.')
param token string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('SKU.')
param sku string

@description('Whether it has a replica.')
param highAvailability bool

@description('Subnet of the private endpoint.')
param endpointsSubnetId string

@description('Name zone of the private endpoint.')
param zoneId string

@description('Who may log in: objects with name and principalId.')
param users array

@description('Workspace for diagnostics.')
param workspaceId string

var port = 10000

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: 'amr-${token}'
  location: location
  tags: tags
  sku: { name: sku }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    publicNetworkAccess: 'Disabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: redis
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: port
    clusteringPolicy: 'EnterpriseCluster'
    evictionPolicy: 'NoEviction'
    accessKeysAuthentication: 'Disabled'
    persistence: { aofEnabled: false, rdbEnabled: false }
  }
}

// One after the other: the database takes one change at a time.
@batchSize(1)
resource logins 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = [
  for user in users: {
    parent: database
    name: user.name
    properties: { accessPolicyName: 'default', user: { objectId: user.principalId } }
  }
]

module endpoint 'private_endpoint.bicep' = {
  name: 'redis-endpoint'
  params: {
    name: 'pe-${redis.name}'
    location: location
    tags: tags
    subnetId: endpointsSubnetId
    targetId: redis.id
    groupId: 'redisEnterprise'
    zoneId: zoneId
  }
  dependsOn: [database]
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: redis
  name: 'to-workspace'
  properties: { workspaceId: workspaceId, metrics: [{ category: 'AllMetrics', enabled: true }] }
}

resource connections 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: database
  name: 'to-workspace'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}

@description('Address for the vault\'s redis-url; the login is the identity\'s.')
output address string = 'rediss://${redis.properties.hostName}:${port}'
