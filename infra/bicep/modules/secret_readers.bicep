// Lets one service read the secrets that it needs, each by itself: the token service cannot read an upstream's key.

@description('Name of the vault.')
param vaultName string

@description('Names of the secrets; they must be there.')
param secretNames array

@description('Object id of who may read them.')
param principalId string

var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource secrets 'Microsoft.KeyVault/vaults/secrets@2024-11-01' existing = [
  for name in secretNames: {
    parent: vault
    name: name
  }
]

resource mayRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (name, index) in secretNames: {
    scope: secrets[index]
    name: guid(vault.id, name, principalId, keyVaultSecretsUser)
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
    }
  }
]
