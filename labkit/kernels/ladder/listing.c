void xnor_gemm_baseline_no_omp(int M, int N, int K,
                                BINARY_WORD *A, int lda,
                                BINARY_WORD *B, int ldb,
                                float *C, int ldc){
    for (int m = 0; m < M; ++m) {
        for (int k = 0; k < K; k++) {
            BINARY_WORD A_PART = A[m*lda+k];
            for (int n = 0; n < N; ++n) {
                C[m*ldc+n] += __builtin_popcountl(~(A_PART & B[k*ldb+n]));
            }
        }
    }
}
