// Where both services run. Their names and hosts are decided here, so that Front Door knows them before they are made.

@description('Name of the installation.')
param environmentName string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Subnet, delegated to Container Apps.')
param subnetId string

@description('Whether it has no public address.')
param isPrivate bool

@description('Whether it is spread over zones.')
param zoneRedundant bool

@description('Workspace for diagnostics.')
param workspaceId string

var tokenServiceName = '${environmentName}-tokens'
var relayName = '${environmentName}-relay'

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' = {
  name: 'cae-${environmentName}'
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: { destination: 'azure-monitor' } // by the setting below: no shared key of the workspace
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    vnetConfiguration: { infrastructureSubnetId: subnetId, internal: isPrivate }
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
    zoneRedundant: zoneRedundant
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: environment
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Id of the environment.')
output environmentId string = environment.id

@description('Name of the environment.')
output environmentName string = environment.name

@description('Name of the token service\'s app.')
output tokenServiceName string = tokenServiceName

@description('Name of the relay\'s app.')
output relayName string = relayName

@description('Host of the token service.')
output tokenServiceHost string = '${tokenServiceName}.${environment.properties.defaultDomain}'

@description('Host of the relay.')
output relayHost string = '${relayName}.${environment.properties.defaultDomain}'
