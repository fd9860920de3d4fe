// Key Vault: the secrets' one place. Who may read which of them: secret_readers.bicep.

@description('Unique text of the installation.')
param token string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Subnet of the private endpoint.')
param endpointsSubnetId string

@description('Name zone of the private endpoint.')
param zoneId string

@description('Public addresses from which it can be reached; empty: none.')
param addresses array

@description('Who may set secrets; empty: nobody is given that role here.')
param officerId string

@description('What that object id is.')
param officerType string

@description('Workspace for diagnostics.')
param workspaceId string

var keyVaultSecretsOfficer = 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: 'kv-${token}'
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: empty(addresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: 'Deny'
      ipRules: [for address in addresses: { value: address }]
    }
  }
}

resource officer 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(officerId)) {
  scope: vault
  name: guid(vault.id, officerId, keyVaultSecretsOfficer)
  properties: {
    principalId: officerId
    principalType: officerType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsOfficer)
  }
}

module endpoint 'private_endpoint.bicep' = {
  name: 'vault-endpoint'
  params: {
    name: 'pe-${vault.name}'
    location: location
    tags: tags
    subnetId: endpointsSubnetId
    targetId: vault.id
    groupId: 'vault'
    zoneId: zoneId
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Name of the vault.')
output vaultName string = vault.name

@description('Address of the vault: KEY_VAULT_URL.')
output address string = vault.properties.vaultUri
