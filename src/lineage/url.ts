/** What a store's URL looks like. */
export const DATABASE_URL = /^postgres(?:ql)?:\/\//;
export const DATABASE_URL_FORM = 'postgres://USER@HOST/DATABASE';
