// One virtual network: a subnet for the apps, one for the private endpoints, and the names under which those are found.

@description('Name of the installation.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Address space.')
param addressPrefix string

@description('Whether the apps have no public address.')
param isPrivate bool

@description('Whether a name for Azure OpenAI is needed too.')
param withOpenAi bool

@description('Workspace for diagnostics.')
param workspaceId string

var appsPrefix = cidrSubnet(addressPrefix, 24, 0)
// With a public address it is this rule that keeps everybody but Front Door away; which Front Door, the services look at.
var frontDoorOnly = [
  {
    name: 'front-door'
    properties: {
      access: 'Allow'
      direction: 'Inbound'
      priority: 100
      protocol: 'Tcp'
      sourceAddressPrefix: 'AzureFrontDoor.Backend'
      sourcePortRange: '*'
      destinationAddressPrefix: '*'
      destinationPortRanges: ['80', '443', '31080', '31443'] // the latter where the ingress listens
    }
  }
]

resource guard 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-${environmentName}-apps'
  location: location
  tags: tags
  properties: { securityRules: isPrivate ? [] : frontDoorOnly }
}

resource endpointsGuard 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: 'nsg-${environmentName}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'apps'
        properties: {
          access: 'Allow'
          direction: 'Inbound'
          priority: 100
          protocol: 'Tcp'
          sourceAddressPrefix: appsPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRanges: ['443', '10000']
        }
      }
      {
        name: 'nobody-else'
        properties: {
          access: 'Deny'
          direction: 'Inbound'
          priority: 200
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: 'vnet-${environmentName}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: appsPrefix
          delegations: [{ name: 'apps', properties: { serviceName: 'Microsoft.App/environments' } }]
          networkSecurityGroup: { id: guard.id }
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 1)
          privateEndpointNetworkPolicies: 'Enabled'
          networkSecurityGroup: { id: endpointsGuard.id }
        }
      }
    ]
  }
}

var zoneNames = concat(
  ['privatelink.vaultcore.azure.net', 'privatelink.redis.azure.net'],
  withOpenAi ? ['privatelink.openai.azure.com'] : []
)

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in zoneNames: {
    parent: zones[index]
    name: 'vnet-${environmentName}'
    location: 'global'
    tags: tags
    properties: { virtualNetwork: { id: network.id }, registrationEnabled: false }
  }
]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: network
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource guardDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: guard
  name: 'to-workspace'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}

resource endpointsGuardDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: endpointsGuard
  name: 'to-workspace'
  properties: { workspaceId: workspaceId, logs: [{ categoryGroup: 'allLogs', enabled: true }] }
}

@description('Subnet of the apps.')
output appsSubnetId string = network.properties.subnets[0].id

@description('Addresses of the apps\' subnet, from which the ingress may reach them.')
output appsPrefix string = appsPrefix

@description('Subnet of the private endpoints.')
output endpointsSubnetId string = network.properties.subnets[1].id

@description('Name zone of the vault.')
output vaultZoneId string = zones[0].id

@description('Name zone of Redis.')
output redisZoneId string = zones[1].id

@description('Name zone of Azure OpenAI; empty without it.')
output openAiZoneId string = withOpenAi ? zones[2].id : ''
